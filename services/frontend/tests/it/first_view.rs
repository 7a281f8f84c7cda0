use crate::helpers::{Site, assets_of};

/// Upper bound on the first view (issue 4).
const MOST_BYTES: usize = 100 * 1024;

#[tokio::test]
async fn the_first_view_is_at_most_100_kib_compressed() {
    let site = Site::start().await;
    let page = site.get_gzip("/").await.bytes().await.unwrap();
    let html = String::from_utf8(crate::helpers::unpack(&page)).unwrap();
    let mut sum = page.len();
    let assets = assets_of(&html);
    assert!(assets.len() > 10, "the page names its modules: {assets:?}");
    for asset in assets {
        sum += site.get_gzip(&asset).await.bytes().await.unwrap().len();
    }
    assert!(sum <= MOST_BYTES, "the first view has {sum} bytes");
}

#[tokio::test]
async fn the_page_preloads_every_imported_module() {
    let site = Site::start().await;
    let assets = assets_of(&site.get("/").await.text().await.unwrap());
    for asset in assets.iter().filter(|asset| asset.ends_with(".js")) {
        let text = site.get(asset).await.text().await.unwrap();
        let folder = asset.rsplit_once('/').unwrap().0;
        let imports = text.lines().filter(|line| line.starts_with("import "));
        for import in imports.filter_map(|line| line.split("'./").nth(1)?.split('\'').next()) {
            let wanted = format!("{folder}/{import}");
            assert!(assets.contains(&wanted), "{asset} imports {import}, which the page does not preload");
        }
    }
}
