use super::*;

fn values<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn built_in() -> Templates {
    Templates::load(None).unwrap()
}

/// A folder with these files, as a ConfigMap is mounted: links into `..data`, which is a link itself.
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

    fn refused(&self) -> String {
        match self.load() {
            Ok(_) => format!("{} was taken", self.0.display()),
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
fn a_message_has_its_values_in_every_part() {
    let rendered =
        built_in().render("message", &values([("subject", "Hi & you"), ("message", "a\nb")])).unwrap();
    assert_eq!((rendered.subject.as_str(), rendered.text.as_str()), ("Hi & you", "a\nb"));
    assert!(rendered.html.contains("a<br>b") && rendered.html.contains("<title>Hi &amp; you</title>"));
    assert!(rendered.html.starts_with("<!doctype html>"));
}

#[test]
fn styles_are_on_their_elements_and_nothing_is_loaded_from_elsewhere() {
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
fn a_value_is_text_whatever_it_looks_like() {
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
fn a_reset_link_is_whole_in_both_parts() {
    let link = "https://shop.example.com/account/reset-password#aB-_9";
    let given = values([("email", "e@f.g"), ("first_name", "Ada"), ("link", link), ("minutes", "30")]);
    let rendered = built_in().render("password-reset", &given).unwrap();
    assert_eq!(rendered.subject, "Set a new password");
    assert!(rendered.text.contains(&format!("\n{link}\n")), "{}", rendered.text);
    // A slash may be escaped: it is the same to a browser.
    let html = rendered.html.replace("&#x2f;", "/");
    assert!(html.contains(&format!("href=\"{link}\"")), "{html}");
    assert!(html.contains("30 minutes") && html.contains("e@f.g"), "{html}");
}

#[test]
fn a_logout_says_whether_it_was_everywhere() {
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
fn what_is_lacking_or_unknown_is_named() {
    let error = built_in().render("message", &values([("subject", "s")])).unwrap_err();
    assert_eq!(error.to_string(), "values: the template `message` asks for `message`, which is lacking");
    let error =
        built_in().render("logout", &values([("email", "e"), ("time", "t")])).unwrap_err().to_string();
    assert!(error.contains("`address`, `everywhere`, `first_name`"), "{error}");
    let error = built_in().render("nope", &values([])).unwrap_err();
    assert_eq!(error.to_string(), "template: `nope` is unknown; known are: logout, message, password-reset");
    assert!(built_in().render(&"x".repeat(1 << 20), &values([])).unwrap_err().to_string().len() < 200);
}

#[test]
fn a_mounted_template_is_known_and_goes_before_a_built_in_one_file_by_file() {
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
fn placeholders_in_attributes_survive_and_their_values_stay_inside() {
    let mounted = mounted_order("attribute", "<mj-button href=\"{{ url }}\">{{ number }}</mj-button>");
    let rendered = mounted.load().unwrap();
    let rendered = rendered.render("order", &values([("number", "7"), ("url", "https://a/?b=\"><script>")]));
    let html = rendered.unwrap().html;
    assert!(html.contains("href=\"https:&#x2f;&#x2f;a&#x2f;?b=&quot;&gt;&lt;script&gt;\""), "{html}");
}

#[test]
fn a_broken_template_is_refused_with_its_file_and_place() {
    let refused = |test, inside: &str| mounted_order(test, inside).refused();
    let error = refused("syntax", "<mj-text>{% if %}</mj-text>");
    assert!(error.contains("order.mjml is broken at line 4"), "{error}");
    let error = refused("filter", "<mj-text>{{ number | shout }}</mj-text>");
    assert!(error.contains("order.mjml") && error.contains("shout"), "{error}");
    let error = refused("element", "<mj-nope>x</mj-nope>");
    assert!(error.contains("order.mjml is broken at line 4, column"), "{error}");
    let error = refused("unclosed", "<mj-text>x");
    assert!(error.contains("order.mjml is broken at"), "{error}");
    let error = refused("nested", "<mj-text>{{ number.digits }}</mj-text>");
    assert!(error.contains("order.mjml"), "{error}");
    let error = refused("lost", "</mj-column><mj-column><mj-image src=\"a.png\" width=\"{{ width }}\" />");
    assert!(error.contains("order.mjml") && error.contains("{{ width }}"), "{error}");
}

#[test]
fn files_that_make_no_template_are_refused_by_name() {
    let error = Mounted::new("half", [("order.txt", "x")]).refused();
    assert!(error.contains("the template `order` lacks its file order."), "{error}");
    let error = Mounted::new("stray", [("order.html", "x")]).refused();
    assert!(error.contains("order.html is part of no template"), "{error}");
    let error = Mounted::new("name", [("Order 1.txt", "x")]).refused();
    assert!(error.contains("Order 1.txt is part of no template"), "{error}");
    let error = Templates::load(Some(Path::new("/nowhere/at/all"))).unwrap_err().to_string();
    assert!(error.contains("/nowhere/at/all") && error.contains("MAIL_TEMPLATES_DIR"), "{error}");
}
