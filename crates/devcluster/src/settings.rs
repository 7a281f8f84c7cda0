//! Settings from the environment: the cluster and its tools.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Settings from the environment.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(crate) kubectl: PathBuf,
    pub(crate) helm: PathBuf,
    /// The chart values that name the images on the cluster.
    pub values: PathBuf,
    pub(crate) chart: PathBuf,
    pub(crate) node_is_ours: bool,
}

impl Settings {
    /// Reads the variables that are listed in the crate's README.
    ///
    /// # Errors
    /// When a variable is not set, or its path does not exist.
    pub fn from_env() -> Result<Self> {
        path("KUBECONFIG")?;
        let tools = path("WEFT_TOOLS_BIN")?;
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/weft");
        let settings = Self {
            kubectl: tools.join("kubectl"),
            helm: tools.join("helm"),
            values: path("WEFT_VALUES")?,
            chart,
            node_is_ours: env::var("WEFT_NODE_IS_OURS").is_ok_and(|value| value == "1"),
        };
        for tool in [&settings.kubectl, &settings.helm] {
            ensure!(tool.is_file(), "{} not found: build it with k8s/local/tools/build.sh", tool.display());
        }
        Ok(settings)
    }

    /// The version of the services whose images are in the chart values.
    ///
    /// # Errors
    /// When the values can't be read or have no version.
    pub fn version(&self) -> Result<String> {
        let text = std::fs::read_to_string(&self.values)?;
        let values: serde_json::Value = serde_yaml_ng::from_str(&text)?;
        let versions = values["versions"].as_object().context("the chart values have no `versions`")?;
        versions.keys().next_back().cloned().context("`versions` in the chart values is empty")
    }
}

fn path(name: &str) -> Result<PathBuf> {
    let value =
        env::var_os(name).with_context(|| format!("{name} is not set: use `make test` or `make bench`"))?;
    let path = PathBuf::from(value);
    ensure!(path.exists(), "{name}: {} not found: start the node with `make up`", path.display());
    Ok(path)
}
