use reqwest::{Method, StatusCode};

use crate::helpers::{Site, assets_of, header, unpack};

#[tokio::test]
async fn caches_assets_indefinitely_only_under_their_hash() {
    let site = Site::start().await;
    for asset in assets_of(&site.get("/").await.text().await.unwrap()) {
        let reply = site.get(&asset).await;
        assert_eq!(reply.status(), StatusCode::OK, "{asset}");
        assert_eq!(header(&reply, "cache-control").unwrap(), "public, max-age=31536000, immutable");
        let name = asset.rsplit('/').next().unwrap();
        let other = site.get(&format!("/assets/0000000000000000/{name}")).await;
        assert_eq!(other.status(), StatusCode::OK, "a page of the previous version still gets its files");
        assert_eq!(header(&other, "cache-control").unwrap(), "no-store");
    }
}

#[tokio::test]
async fn revalidates_pages_with_etags() {
    let site = Site::start().await;
    let first = site.get("/logs").await;
    assert_eq!(header(&first, "cache-control").unwrap(), "no-cache");
    let tag = header(&first, "etag").unwrap();
    let again = site.send(Method::GET, "/logs", &[("if-none-match", &format!("\"x\", W/{tag}"))]).await;
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(header(&again, "etag").unwrap(), tag);
    assert_eq!(header(&again, "vary").unwrap(), "accept-encoding");
    assert!(again.bytes().await.unwrap().is_empty());
    let other = site.send(Method::GET, "/", &[("if-none-match", &tag)]).await;
    assert_eq!(other.status(), StatusCode::OK, "another page has another tag");
}

#[tokio::test]
async fn compresses_for_clients_that_accept_gzip_with_a_separate_etag() {
    let site = Site::start().await;
    let plain = site.get("/").await;
    let (plain_tag, encoding) = (header(&plain, "etag").unwrap(), header(&plain, "content-encoding"));
    assert_eq!(encoding, None);
    let packed = site.get_gzip("/").await;
    assert_eq!(header(&packed, "content-encoding").unwrap(), "gzip");
    assert_eq!(header(&packed, "vary").unwrap(), "accept-encoding");
    let tag = header(&packed, "etag").unwrap();
    assert_ne!(tag, plain_tag);
    assert_eq!(unpack(&packed.bytes().await.unwrap()), plain.bytes().await.unwrap());
    let known = site.send(Method::GET, "/", &[("accept-encoding", "gzip"), ("if-none-match", &tag)]).await;
    assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
    let refused = site.send(Method::GET, "/", &[("accept-encoding", "gzip;q=0, *")]).await;
    assert_eq!(header(&refused, "content-encoding"), None);
}
