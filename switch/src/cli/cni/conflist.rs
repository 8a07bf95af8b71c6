//! What does the configuration list say that leads a container runtime to weft?
//!
//! Owns its form, both ways: written from [`Settings`], and read back from what lies in a
//! directory. Keys that are the defaults of the plugin are left out, all but the socket. It never
//! reads or writes a file.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};
use weft_cni::daemon::{DEFAULT_SOCKET, DEFAULT_STATE};

/// The plugin's name, by which the list and the file system know it.
pub(super) const PLUGIN: &str = "weft-cni";

/// Every version of the specification that the plugin speaks, oldest first.
pub(super) const VERSIONS: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// Understood by every runtime; newer ones choose from [`VERSIONS`].
const VERSION: &str = "1.0.0";

/// What `weft cni install` writes and may replace without asking.
const LIST_KEYS: [&str; 4] = ["cniVersion", "cniVersions", "name", "plugins"];
const PLUGIN_KEYS: [&str; 5] = ["type", "socket", "stateDir", "mtu", "capabilities"];

/// What an operator chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) name: String,
    pub(super) socket: PathBuf,
    pub(super) state: PathBuf,
    /// MTU of pods' interfaces; absent: the daemon's.
    pub(super) mtu: Option<u16>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    cni_version: &'a str,
    cni_versions: [&'a str; 4],
    name: &'a str,
    plugins: [Plugin<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Plugin<'a> {
    r#type: &'a str,
    socket: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_dir: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u16>,
    capabilities: Value,
}

/// The list, as JSON for people; an error if a path is not UTF-8.
pub(super) fn render(settings: &Settings) -> serde_json::Result<String> {
    let plugin = Plugin {
        r#type: PLUGIN,
        socket: &settings.socket,
        state_dir: Some(settings.state.as_path())
            .filter(|state| *state != Path::new(DEFAULT_STATE)),
        mtu: settings.mtu,
        capabilities: json!({
            "portMappings": true,
            "ips": true,
            "mac": true,
            "bandwidth": true,
            "io.kubernetes.cri.pod-annotations": true,
        }),
    };
    let list = List {
        cni_version: VERSION,
        cni_versions: VERSIONS,
        name: &settings.name,
        plugins: [plugin],
    };
    Ok(serde_json::to_string_pretty(&list)? + "\n")
}

/// A list that names our plugin, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) socket: PathBuf,
    pub(super) state: PathBuf,
    pub(super) versions: Vec<String>,
    /// Whether it holds more than [`render`] ever writes: somebody's own work.
    pub(super) edited: bool,
}

/// Reads a list; `None` if it is none or does not name our plugin.
pub(super) fn read(text: &[u8]) -> Option<Found> {
    let list: Value = serde_json::from_slice(text).ok()?;
    let plugins = list.get("plugins")?.as_array()?;
    let plugin = plugins
        .iter()
        .find(|plugin| word(plugin, "type") == Some(PLUGIN))?;
    let path = |key, default: &str| PathBuf::from(word(plugin, key).unwrap_or(default));
    let offered = list.get("cniVersions").and_then(Value::as_array);
    let versions = match offered {
        Some(versions) => versions.iter().filter_map(Value::as_str).collect(),
        None => Vec::from_iter(word(&list, "cniVersion")),
    };
    Some(Found {
        socket: path("socket", DEFAULT_SOCKET),
        state: path("stateDir", DEFAULT_STATE),
        versions: versions.into_iter().map(str::to_owned).collect(),
        edited: plugins.len() > 1 || !only(&list, &LIST_KEYS) || !only(plugin, &PLUGIN_KEYS),
    })
}

fn word<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get(key)?.as_str()
}

fn only(object: &Value, keys: &[&str]) -> bool {
    let mut found = object.as_object().into_iter().flat_map(|map| map.keys());
    found.all(|key| keys.contains(&key.as_str()))
}
