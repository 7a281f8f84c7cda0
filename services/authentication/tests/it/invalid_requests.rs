use anyhow::Result;
use tonic::Code;
use weft_proto::weft::auth::v1::SignInRequest;

use crate::helpers::{ADMIN, PASSWORD, Rig, sign_in};

#[tokio::test]
async fn rejects_invalid_fields_by_name_before_hashing() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let mebibyte = "x".repeat(1 << 20);
    let long = format!("{}@example.com", "x".repeat(10_000));
    let before = rig.admin("/metrics").await?.1;
    let hashes = |text: &str| {
        text.lines().find(|line| line.starts_with("auth_hash_duration_seconds_count")).map(str::to_owned)
    };
    for (field, request) in [
        ("email", sign_in("", PASSWORD)),
        ("email", sign_in("no address", PASSWORD)),
        ("email", sign_in("a@b\r\nBcc: c@d", PASSWORD)),
        ("email", sign_in("a\0@b", PASSWORD)),
        ("email", sign_in(&long, PASSWORD)),
        ("password", sign_in(ADMIN, "")),
        ("password", sign_in(ADMIN, &mebibyte)),
        (
            "client_address",
            SignInRequest { client_address: "10.0.0.1, 10.0.0.2".into(), ..sign_in(ADMIN, PASSWORD) },
        ),
    ] {
        let refused = client.sign_in(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{field}");
        assert!(refused.message().starts_with(&format!("{field}: ")), "{refused}");
        assert!(refused.message().len() < 200, "the message repeats the input");
    }
    assert_eq!(hashes(&rig.admin("/metrics").await?.1), hashes(&before));
    for odd in ["иван@пример.рф", "a'; DROP TABLE users; --@b", "用户@例子.中国"] {
        let refused = client.sign_in(sign_in(odd, "p\0assword\n\u{202e}")).await.unwrap_err();
        assert!(matches!(refused.code(), Code::Unauthenticated | Code::InvalidArgument), "{odd}: {refused}");
    }
    let agent = SignInRequest { user_agent: "a\r\nb".repeat(100_000), ..sign_in(ADMIN, PASSWORD) };
    client.sign_in(agent).await?;
    Ok(())
}
