use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::Result;
use weft_devstack::StateDir;
use weft_proto::weft::mail::v1::SendRequest;

use crate::helpers::{Mail, Rig, message, to, values};

const ORDER: &str = "<mjml><mj-body><mj-section><mj-column>\
                     <mj-text>Order {{ number }}</mj-text>\
                     <mj-button href=\"{{ link }}\">Show</mj-button>\
                     </mj-column></mj-section></mj-body></mjml>";

/// Lays out files like a ConfigMap that the kubelet mounts.
fn mount(folder: &Path, files: &[(&str, &str)]) -> Result<()> {
    let data = folder.join("..2026_11_24_19_00_00.1");
    fs::create_dir_all(&data)?;
    symlink("..2026_11_24_19_00_00.1", folder.join("..data"))?;
    for (file, text) in files {
        fs::write(data.join(file), text)?;
        symlink(Path::new("..data").join(file), folder.join(file))?;
    }
    Ok(())
}

#[tokio::test]
async fn mounted_files_add_templates_and_override_built_in_files() -> Result<()> {
    let state = StateDir::temporary()?;
    mount(
        state.path(),
        &[
            ("order.mjml", ORDER),
            ("order.txt", "Order {{ number }}: {{ link }}\n"),
            ("order.subject.txt", "Your order {{ number }}\n"),
            ("message.subject.txt", "[weft] {{ subject }}\n"),
        ],
    )?;
    let folder = state.path().display().to_string();
    let rig = Rig::with(|options| options.env("MAIL_TEMPLATES_DIR", folder)).await?;
    let given = values(&[("number", "<7>"), ("link", "https://example.org/?a=\"><script>")]);
    rig.mail
        .client()?
        .send(SendRequest { template: "order".into(), values: given, ..message("", "") })
        .await?;
    let (mail, source) = rig.only().await?;
    assert_eq!(mail["subject"], "Your order <7>");
    assert_eq!(
        mail["text"].as_str().map(str::trim_end),
        Some("Order <7>: https://example.org/?a=\"><script>")
    );
    let html = mail["html"].as_str().unwrap_or_default();
    assert!(html.contains("Order &lt;7&gt;") && !html.contains("<script>"), "{html}");
    assert!(source.contains("Auto-Submitted: auto-generated"));
    rig.mail.client()?.send(message("s", "m")).await?;
    assert!(rig.caught().await?.iter().any(|mail| mail["subject"] == "[weft] s"));
    Ok(())
}

#[tokio::test]
async fn an_invalid_template_fails_the_start_with_file_and_position() -> Result<()> {
    for (file, text, wanted) in [
        ("order.mjml", "<mjml>\n<mj-body>\n{% if x %}\n</mj-body>\n</mjml>", "order.mjml at line"),
        ("order.mjml", "<mjml>\n<mj-body>\n<mj-text>\n</mj-body>\n</mjml>", "order.mjml at"),
        ("order.txt", "one\ntwo {{ number", "order.txt at line 2"),
        ("order.subject.txt", "{{ number | nope }}", "order.subject.txt at line 1"),
        ("order.html", "x", "order.html is not part of a template"),
    ] {
        let state = StateDir::temporary()?;
        let mut files =
            vec![("order.mjml", ORDER), ("order.txt", "t"), ("order.subject.txt", "s"), ("order.html", "")];
        files.retain(|(name, _)| *name != file && *name != "order.html");
        files.push((file, text));
        mount(state.path(), &files)?;
        let nowhere = to("127.0.0.1:9".parse()?);
        let log =
            Mail::failed_start(nowhere.env("MAIL_TEMPLATES_DIR", state.path().display().to_string())).await?;
        assert!(log.contains(wanted), "{log}");
    }
    Ok(())
}
