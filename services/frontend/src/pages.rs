//! The pages, rendered once at start. Each page has all views and shows one of them.

use askama::Template;

use crate::assets::Assets;
use crate::config::Config;
use crate::resource::Resource;

const HTML: &str = "text/html; charset=utf-8";

/// A page could not be rendered.
#[derive(Debug, thiserror::Error)]
#[error("failed to render the page {page}")]
pub struct PageError {
    page: &'static str,
    source: askama::Error,
}

/// A view of the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    Send,
    Logs,
    Trace,
    DeadLetters,
    Account,
    ForgotPassword,
    ResetPassword,
}

impl View {
    const ALL: [Self; 7] = [
        Self::Send,
        Self::Logs,
        Self::Trace,
        Self::DeadLetters,
        Self::Account,
        Self::ForgotPassword,
        Self::ResetPassword,
    ];

    /// The id of the view's section.
    fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Logs => "logs",
            Self::Trace => "trace",
            Self::DeadLetters => "dead-letters",
            Self::Account => "account",
            Self::ForgotPassword => "forgot-password",
            Self::ResetPassword => "reset-password",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Send => "Send",
            Self::Logs => "Logs",
            Self::Trace => "Trace",
            Self::DeadLetters => "Dead letters",
            Self::Account => "Account",
            Self::ForgotPassword => "Forgot your password?",
            Self::ResetPassword => "Set a new password",
        }
    }
}

#[derive(Template)]
#[template(path = "shell.html")]
struct Shell<'a> {
    view: View,
    assets: &'a str,
    modules: &'a [&'static str],
    broker: &'a str,
    jaeger: &'a str,
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorShell<'a> {
    assets: &'a str,
    title: &'a str,
    detail: &'a str,
}

/// All rendered pages.
#[derive(Debug)]
pub(crate) struct Pages {
    views: Vec<Resource>,
    pub(crate) not_found: Resource,
    pub(crate) method_not_allowed: Resource,
}

impl Pages {
    pub(crate) fn render(config: &Config, assets: &Assets) -> Result<Self, PageError> {
        let prefix = format!("/assets/{}", assets.version());
        let modules: Vec<_> = Assets::modules().filter(|name| *name != "app.js").collect();
        let broker = config.broker.as_ref().map(ToString::to_string).unwrap_or_default();
        let jaeger = config.jaeger.as_ref().map(ToString::to_string).unwrap_or_default();
        let shell = |view| {
            let shell = Shell { view, assets: &prefix, modules: &modules, broker: &broker, jaeger: &jaeger };
            page(view.name(), &shell)
        };
        let error =
            |page_name, title, detail| page(page_name, &ErrorShell { assets: &prefix, title, detail });
        Ok(Self {
            views: View::ALL.into_iter().map(shell).collect::<Result<_, _>>()?,
            not_found: error("404", "Page not found", "Check the address, or start at the console.")?,
            method_not_allowed: error("405", "Method not allowed", "This page supports only GET and HEAD.")?,
        })
    }

    pub(crate) fn view(&self, view: View) -> &Resource {
        &self.views[view as usize]
    }
}

fn page(page: &'static str, template: &impl Template) -> Result<Resource, PageError> {
    let html = template.render().map_err(|source| PageError { page, source })?;
    Ok(Resource::new(HTML, html.as_bytes()))
}
