//! `logger dump` and `logger restore`.

use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::Result;
use tokio::process::Command;
use weft_devstack::{FerretDb, StateDir};
use weft_proto::weft::log::v1::{Entry, QueryRequest};

use crate::dead_letters;
use crate::helpers::{Client, Rig, entry, ids, sorted, write};

/// More than fit into one insert.
const ENTRIES: usize = 600;

async fn logger(verb: &str, file: &Path, uri: &str) -> Result<Output> {
    let mut command = Command::new(weft_devstack::our_binary("logger")?);
    command.arg(verb).arg(file).env("MONGODB_URI", uri).kill_on_drop(true);
    Ok(command.output().await?)
}

fn printed(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Starts a logger with entries. Returns the path of a file that does not exist yet.
async fn filled(state: &StateDir) -> Result<(Rig, Vec<Entry>, PathBuf)> {
    let rig = Rig::start().await?;
    let mut client: Client = rig.client()?;
    for number in 0..ENTRIES {
        let name = format!("größer than {number} \u{1F337}");
        client.write(write(Entry { data: "x".repeat(number), ..entry(&name) })).await?;
    }
    let all = rig.all(QueryRequest::default()).await?;
    assert_eq!(all.len(), ENTRIES);
    Ok((rig, all, state.folder("archive")?.join("logs.bson")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_can_be_restored_more_than_once() -> Result<()> {
    let state = StateDir::temporary()?;
    let (from, entries, file) = filled(&state).await?;
    dead_letters::store_one(&from, b"a body").await?;
    let dumped = logger("dump", &file, from.store.uri()).await?;
    assert!(dumped.status.success(), "{}", printed(&dumped));
    assert_eq!(printed(&dumped), format!("logger dump: dumped {ENTRIES} entries, 1 dead letters\n"));

    let to = Rig::start().await?;
    for (created, existing) in [(ENTRIES, 0), (0, ENTRIES)] {
        let restored = logger("restore", &file, to.store.uri()).await?;
        assert!(restored.status.success(), "{}", printed(&restored));
        let letter = usize::from(created > 0);
        let line = format!(
            "logger restore: restored {created} entries ({existing} already existed), \
             {letter} dead letters ({} already existed)\n",
            1 - letter
        );
        assert_eq!(printed(&restored), line);
        assert_eq!(dead_letters::content_of_one(&to).await?, b"a body");
        assert_eq!(to.all(QueryRequest::default()).await?, entries);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_errors_and_leaves_no_partial_dump() -> Result<()> {
    let state = StateDir::temporary()?;
    let (rig, entries, file) = filled(&state).await?;
    assert!(logger("dump", &file, rig.store.uri()).await?.status.success());
    let whole = std::fs::read(&file)?;
    std::fs::write(&file, &whole[..whole.len() - 1])?;

    let empty = FerretDb::start(&state.folder("empty")?).await?;
    let cut = logger("restore", &file, empty.uri()).await?;
    assert_eq!(cut.status.code(), Some(1));
    assert!(printed(&cut).contains("at byte") && printed(&cut).contains("truncated"), "{}", printed(&cut));

    let missing = logger("restore", Path::new("/nowhere/logs.bson"), empty.uri()).await?;
    assert!(printed(&missing).contains("failed to open /nowhere/logs.bson"), "{}", printed(&missing));

    let unnamed = Command::new(weft_devstack::our_binary("logger")?).arg("dump").output().await?;
    assert_eq!(unnamed.status.code(), Some(2));
    assert_eq!(printed(&unnamed), "usage: logger dump FILE\n");

    empty.kill().await?;
    let other = file.with_file_name("other.bson");
    let away = logger("dump", &other, empty.uri()).await?;
    assert_eq!(away.status.code(), Some(1));
    assert!(printed(&away).starts_with("logger dump: failed to copy"), "{}", printed(&away));
    assert!(!other.exists());
    // The dumped store is unchanged.
    assert_eq!(sorted(ids(&rig.all(QueryRequest::default()).await?)), sorted(ids(&entries)));
    Ok(())
}
