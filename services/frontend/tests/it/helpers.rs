use std::io::Read as _;

use reqwest::{Client, Method, Response};
use weft_devstack::{Service, ServiceOptions, StateDir};

pub(crate) const BROKER: &str = "https://api.example.com:8443";

/// The service and a client for it, with the state folder.
pub(crate) struct Site {
    pub(crate) service: Service,
    client: Client,
    _state: StateDir,
}

impl Site {
    pub(crate) async fn start() -> Self {
        Self::start_with(ServiceOptions::default().env("FRONTEND_BROKER_URL", BROKER)).await
    }

    pub(crate) async fn start_with(options: ServiceOptions) -> Self {
        let state = StateDir::temporary().unwrap();
        let service = Service::start("frontend", state.path(), options).await.unwrap();
        Self { service, client: Client::new(), _state: state }
    }

    pub(crate) async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
        let url = format!("{}{path}", self.service.http_url());
        let mut request = self.client.request(method, url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.send(Method::GET, path, &[]).await
    }

    pub(crate) async fn get_gzip(&self, path: &str) -> Response {
        self.send(Method::GET, path, &[("accept-encoding", "gzip, br")]).await
    }
}

pub(crate) fn header(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
}

pub(crate) fn unpack(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

/// The paths of the assets in a page's `href` and `src`.
pub(crate) fn assets_of(html: &str) -> Vec<String> {
    let parts = html.split(['"']).filter(|part| part.starts_with("/assets/"));
    parts.map(ToOwned::to_owned).collect()
}
