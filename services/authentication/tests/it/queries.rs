use std::collections::HashSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor as _, SqlSafeStr as _};

use crate::helpers::Rig;

const FIX: &str = "run services/authentication/prepare-queries.sh";

fn sources(folder: &Path, into: &mut String) -> Result<()> {
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        if path.is_dir() {
            sources(&path, into)?;
        } else {
            into.push_str(&fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

/// Joins continued lines of string literals as the compiler does: a backslash at the end of a line removes the indentation of the next.
fn joined(source: &str) -> String {
    let mut parts = source.split("\\\n");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(part.trim_start());
    }
    text
}

#[tokio::test]
async fn cached_query_descriptions_match_the_migrated_database() -> Result<()> {
    let rig = Rig::start().await?;
    let mut database = rig.database().await?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut source = String::new();
    sources(&root.join("src"), &mut source)?;
    let source = joined(&source);
    let mut seen = HashSet::new();
    for file in fs::read_dir(root.join(".sqlx"))? {
        let cached: Value = serde_json::from_str(&fs::read_to_string(file?.path())?)?;
        let query = cached["query"].as_str().context("no query")?;
        ensure!(source.contains(query), "no code runs this query any more; {FIX}: {query}");
        let described = (&mut database).describe(AssertSqlSafe(query).into_sql_str()).await?;
        assert_eq!(serde_json::to_value(&described)?, cached["describe"], "{FIX}: {query}");
        seen.insert(query.to_owned());
    }
    assert!(seen.len() > 20, "only {} queries are cached", seen.len());
    Ok(())
}
