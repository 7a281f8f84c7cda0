use super::*;

fn values<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn built_in() -> Templates {
    Templates::load(None).unwrap()
}

/// A folder with these files, laid out like a mounted ConfigMap: links into `..data`, which is a link itself.
struct Mounted(PathBuf);

impl Mounted {
    fn new<const N: usize>(test: &str, files: [(&str, &str); N]) -> Self {
        let folder = std::env::temp_dir().join(format!("weft-mail-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let data = folder.join("..2026_11_24");
        std::fs::create_dir_all(&data).unwrap();
        std::os::unix::fs::symlink("..2026_11_24", folder.join("..data")).unwrap();
        for (file, text) in files {
            std::fs::write(data.join(file), text).unwrap();
            std::os::unix::fs::symlink(Path::new("..data").join(file), folder.join(file)).unwrap();
        }
        Self(folder)
    }

    fn load(&self) -> Result<Templates, TemplateError> {
        Templates::load(Some(&self.0))
    }

    fn load_error(&self) -> String {
        match self.load() {
            Ok(_) => format!("{} was accepted", self.0.display()),
            Err(error) => weft_runtime::telemetry::chain(&error),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn mjml(inside: &str) -> String {
    format!(
        "<mjml>\n<mj-body>\n<mj-section><mj-column>\n{inside}\n</mj-column></mj-section>\n</mj-body>\n</mjml>"
    )
}

fn order(inside: &str) -> [(&str, String); 3] {
    [
        ("order.mjml", mjml(inside)),
        ("order.txt", "{{ number }}".into()),
        ("order.subject.txt", "Order".into()),
    ]
}

fn mounted_order(test: &str, inside: &str) -> Mounted {
    let files = order(inside);
    Mounted::new(test, files.each_ref().map(|(file, text)| (*file, text.as_str())))
}

#[test]
fn renders_values_in_every_part() {
    let rendered =
        built_in().render("message", &values([("subject", "Hi & you"), ("message", "a\nb")])).unwrap();
    assert_eq!((rendered.subject.as_str(), rendered.text.as_str()), ("Hi & you", "a\nb"));
    assert!(rendered.html.contains("a<br>b") && rendered.html.contains("<title>Hi &amp; you</title>"));
    assert!(rendered.html.starts_with("<!doctype html>"));
}

#[test]
fn inlines_styles_and_loads_nothing_remote() {
    let rendered =
        built_in().render("message", &values([("subject", "s"), ("message", "the text")])).unwrap();
    let text = rendered.html.find("the text").unwrap();
    let element = rendered.html[..text].rfind('<').unwrap();
    let element = &rendered.html[element..text];
    for style in ["font-size:15px", "line-height:1.6", "color:#1f2933", "font-family:Helvetica"] {
        assert!(element.contains(style), "{style} is not on {element}");
    }
    for elsewhere in ["<link", "@import", "src=", "googleapis"] {
        assert!(!rendered.html.contains(elsewhere), "{elsewhere}");
    }
}

#[test]
fn escapes_markup_and_placeholders_in_values() {
    let nasty =
        "</div><script>alert(1)</script><mj-raw>{{ subject }}{% for x in y %}\" onload='x' & <img src=x>";
    let rendered = built_in().render("message", &values([("subject", "s"), ("message", nasty)])).unwrap();
    for element in ["<script", "<mj-", "<img", "</div><s"] {
        assert!(!rendered.html.contains(element), "{element}");
    }
    assert!(rendered.html.contains("&lt;script&gt;") && rendered.html.contains("{{ subject }}{% for"));
    assert_eq!(rendered.text, nasty);
}

#[test]
fn keeps_the_reset_link_intact_in_both_parts() {
    let link = "https://shop.example.com/account/reset-password#aB-_9";
    let given = values([("email", "e@f.g"), ("first_name", "Ada"), ("link", link), ("minutes", "30")]);
    let rendered = built_in().render("password-reset", &given).unwrap();
    assert_eq!(rendered.subject, "Set a new password");
    assert!(rendered.text.contains(&format!("\n{link}\n")), "{}", rendered.text);
    // A slash may be escaped, which is the same to a browser.
    let html = rendered.html.replace("&#x2f;", "/");
    assert!(html.contains(&format!("href=\"{link}\"")), "{html}");
    assert!(html.contains("30 minutes") && html.contains("e@f.g"), "{html}");
}

#[test]
fn a_logout_mail_tells_whether_all_sessions_ended() {
    let given = |everywhere| {
        values([
            ("email", "ann@example.com"),
            ("first_name", "Ann"),
            ("time", "2026-01-02T03:04:05Z"),
            ("address", "192.0.2.1"),
            ("everywhere", everywhere),
        ])
    };
    let one = built_in().render("logout", &given("false")).unwrap();
    assert!(one.text.contains("ann@example.com signed out.") && one.text.contains("From: 192.0.2.1"));
    let all = built_in().render("logout", &given("true")).unwrap();
    assert!(all.text.contains("all its sessions") && all.html.contains("all its sessions"));
}

#[test]
fn names_missing_values_and_unknown_templates() {
    let error = built_in().render("message", &values([("subject", "s")])).unwrap_err();
    assert_eq!(error.to_string(), "values: missing `message`, required by template `message`");
    let error =
        built_in().render("logout", &values([("email", "e"), ("time", "t")])).unwrap_err().to_string();
    assert!(error.contains("`address`, `everywhere`, `first_name`"), "{error}");
    let error = built_in().render("nope", &values([])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "template: unknown template `nope`; expected one of logout, message, password-reset"
    );
    assert!(built_in().render(&"x".repeat(1 << 20), &values([])).unwrap_err().to_string().len() < 200);
}

#[test]
fn mounted_files_add_templates_and_override_built_in_files() {
    let mounted = Mounted::new("override", [("logout.subject.txt", "\n  Goodbye {{ first_name }}  \n")]);
    let given = ["email", "first_name", "time", "address", "everywhere"].map(|name| (name, name));
    let rendered = mounted.load().unwrap().render("logout", &values(given)).unwrap();
    assert_eq!(rendered.subject, "Goodbye first_name");
    assert!(rendered.text.starts_with("Hello first_name"));

    let mounted = mounted_order("new", "<mj-text>{{ number }}{{ note | default('') }}</mj-text>");
    let templates = mounted.load().unwrap();
    assert_eq!(templates.names().collect::<Vec<_>>(), ["logout", "message", "order", "password-reset"]);
    let rendered = templates.render("order", &values([("number", "7")])).unwrap();
    assert!(rendered.html.contains(">7<"));
    let error = templates.render("order", &values([("note", "n")])).unwrap_err().to_string();
    assert!(error.contains("`number`") && !error.contains("`note`"), "{error}");
}

#[test]
fn escapes_values_in_attributes() {
    let mounted = mounted_order("attribute", "<mj-button href=\"{{ url }}\">{{ number }}</mj-button>");
    let rendered = mounted.load().unwrap();
    let rendered = rendered.render("order", &values([("number", "7"), ("url", "https://a/?b=\"><script>")]));
    let html = rendered.unwrap().html;
    assert!(html.contains("href=\"https:&#x2f;&#x2f;a&#x2f;?b=&quot;&gt;&lt;script&gt;\""), "{html}");
}

#[test]
fn errors_name_file_and_position() {
    let load_error = |test, inside: &str| mounted_order(test, inside).load_error();
    let error = load_error("syntax", "<mj-text>{% if %}</mj-text>");
    assert!(error.contains("order.mjml at line 4"), "{error}");
    let error = load_error("filter", "<mj-text>{{ number | shout }}</mj-text>");
    assert!(error.contains("order.mjml") && error.contains("shout"), "{error}");
    let error = load_error("element", "<mj-nope>x</mj-nope>");
    assert!(error.contains("order.mjml at line 4, column"), "{error}");
    let error = load_error("unclosed", "<mj-text>x");
    assert!(error.contains("order.mjml at"), "{error}");
    let error = load_error("nested", "<mj-text>{{ number.digits }}</mj-text>");
    assert!(error.contains("order.mjml"), "{error}");
    let error = load_error("lost", "</mj-column><mj-column><mj-image src=\"a.png\" width=\"{{ width }}\" />");
    assert!(error.contains("order.mjml") && error.contains("{{ width }}"), "{error}");
}

#[test]
fn rejects_incomplete_templates_and_unexpected_files() {
    let error = Mounted::new("half", [("order.txt", "x")]).load_error();
    assert!(error.contains("template `order`: file order."), "{error}");
    let error = Mounted::new("stray", [("order.html", "x")]).load_error();
    assert!(error.contains("order.html is not part of a template"), "{error}");
    let error = Mounted::new("name", [("Order 1.txt", "x")]).load_error();
    assert!(error.contains("Order 1.txt is not part of a template"), "{error}");
    let error = Templates::load(Some(Path::new("/nowhere/at/all"))).unwrap_err().to_string();
    assert!(error.contains("/nowhere/at/all") && error.contains("MAIL_TEMPLATES_DIR"), "{error}");
}
