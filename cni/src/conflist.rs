//! What does the network configuration list that runtimes read look like?
//!
//! Owns the list we install and the lenient reading of one that is there, perhaps edited or
//! another program's. Where it lies and how it gets there is the installer's business.

use std::path::{Path, PathBuf};

use serde::ser::SerializeMap as _;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::daemon::{DEFAULT_SOCKET, DEFAULT_STATE};
use crate::plugin;
use crate::spec::Version;

/// The capabilities we ask runtimes to fill in.
const CAPABILITIES: [&str; 5] = [
    "portMappings",
    "ips",
    "mac",
    "bandwidth",
    "io.kubernetes.cri.pod-annotations",
];

/// A network configuration list, as far as it concerns us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflist {
    /// The network's name.
    pub name: String,
    /// The names of its plugins, in the order in which they run.
    pub plugins: Vec<String>,
    /// What the list says to our plugin, if ours is in it.
    pub ours: Option<Ours>,
}

/// What a list says to our plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ours {
    /// Where the daemon listens.
    pub socket: PathBuf,
    /// Where the daemon keeps its state.
    pub state_dir: PathBuf,
    /// The plugin that gives addresses instead of the daemon.
    pub ipam: Option<String>,
}

/// The keys of a list; everything is optional to be read, nothing else is kept.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    cni_version: Version,
    cni_versions: [Version; 4],
    name: &'a str,
    plugins: [Plugin<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Plugin<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    socket: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_dir: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipam: Option<Value>,
    capabilities: Capabilities,
}

/// All of [`CAPABILITIES`], in their order.
struct Capabilities;

impl Serialize for Capabilities {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(CAPABILITIES.len()))?;
        for capability in CAPABILITIES {
            map.serialize_entry(capability, &true)?;
        }
        map.end()
    }
}

impl Conflist {
    /// The list we install: our plugin alone.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        socket: impl Into<PathBuf>,
        state_dir: impl Into<PathBuf>,
    ) -> Self {
        Self {
            name: name.into(),
            plugins: vec![plugin::NAME.to_owned()],
            ours: Some(Ours {
                socket: socket.into(),
                state_dir: state_dir.into(),
                ipam: None,
            }),
        }
    }

    /// The text of the list with our plugin alone, whatever others there are: theirs is not ours
    /// to write. The version is the one that runtimes know that know no `cniVersions`.
    ///
    /// # Errors
    /// If a path is not UTF-8.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let default = Ours::default();
        let ours = self.ours.as_ref().unwrap_or(&default);
        let kind = |kind: &String| serde_json::json!({ "type": kind });
        let list = List {
            cni_version: Version::V1_0_0,
            cni_versions: Version::ALL,
            name: &self.name,
            plugins: [Plugin {
                kind: plugin::NAME,
                socket: &ours.socket,
                state_dir: Some(&*ours.state_dir).filter(|dir| *dir != default.state_dir),
                ipam: ours.ipam.as_ref().map(kind),
                capabilities: Capabilities,
            }],
        };
        let mut text = serde_json::to_string_pretty(&list)?;
        text.push('\n');
        Ok(text)
    }

    /// Reads a list, or the configuration of a single plugin. Only what is not JSON at all is an
    /// error: keys that are missing or malformed count as absent.
    ///
    /// # Errors
    /// If it is not JSON.
    pub fn read(text: &str) -> Result<Self, serde_json::Error> {
        let json: Value = serde_json::from_str(text)?;
        let single = [json.clone()];
        let plugins = match json.get("plugins") {
            Some(plugins) => plugins.as_array().map(Vec::as_slice).unwrap_or_default(),
            None => &single,
        };
        let kind = |plugin: &Value| text_of(plugin, "type");
        let ours = plugins.iter().find(|p| kind(p) == plugin::NAME);
        Ok(Self {
            name: text_of(&json, "name"),
            plugins: plugins
                .iter()
                .map(kind)
                .filter(|kind| !kind.is_empty())
                .collect(),
            ours: ours.map(Ours::read),
        })
    }
}

impl Default for Ours {
    fn default() -> Self {
        Self {
            socket: DEFAULT_SOCKET.into(),
            state_dir: DEFAULT_STATE.into(),
            ipam: None,
        }
    }
}

impl Ours {
    fn read(plugin: &Value) -> Self {
        let default = Self::default();
        let path = |key, default| match text_of(plugin, key) {
            text if text.is_empty() => default,
            text => PathBuf::from(text),
        };
        let ipam = plugin.get("ipam").map(|ipam| text_of(ipam, "type"));
        Self {
            socket: path("socket", default.socket),
            state_dir: path("stateDir", default.state_dir),
            ipam: ipam.filter(|kind| !kind.is_empty()),
        }
    }
}

fn text_of(object: &Value, key: &str) -> String {
    let text = object
        .get(key)
        .and_then(|value| String::deserialize(value).ok());
    text.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn default() -> Conflist {
        Conflist::new("weft", DEFAULT_SOCKET, DEFAULT_STATE)
    }

    #[test]
    fn the_default_list_is_the_documented_one() {
        let written: Value = serde_json::from_str(&default().to_json().unwrap()).unwrap();
        let documented: Value = serde_json::from_str(
            r#"{"cniVersion":"1.0.0","cniVersions":["0.3.1","0.4.0","1.0.0","1.1.0"],"name":"weft",
 "plugins":[{"type":"weft-cni","socket":"/run/weft/weft.sock",
   "capabilities":{"portMappings":true,"ips":true,"mac":true,"bandwidth":true,"io.kubernetes.cri.pod-annotations":true}}]}"#,
        )
        .unwrap();
        assert_eq!(written, documented);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut list = Conflist::new("pods", "/run/x.sock", "/srv/weft");
        assert_eq!(Conflist::read(&list.to_json().unwrap()).unwrap(), list);
        assert_eq!(
            Conflist::read(&default().to_json().unwrap()).unwrap(),
            default()
        );
        list.ours.as_mut().unwrap().ipam = Some("host-local".into());
        assert_eq!(Conflist::read(&list.to_json().unwrap()).unwrap(), list);
    }

    #[test]
    fn other_peoples_lists_are_read_too() {
        let list = Conflist::read(
            r#"{"name":"cbr0","plugins":[{"type":"flannel","delegate":{}},{"type":"portmap"},{}]}"#,
        )
        .unwrap();
        assert_eq!(list.plugins, ["flannel", "portmap"]);
        assert_eq!((list.name.as_str(), list.ours), ("cbr0", None));
        let single = Conflist::read(r#"{"name":1,"type":"weft-cni","socket":2}"#).unwrap();
        assert_eq!(single.ours, Some(Ours::default()));
        for odd in ["[]", "1", "{}", r#"{"plugins":{}}"#, r#"{"plugins":[1]}"#] {
            assert_eq!(Conflist::read(odd).unwrap().ours, None, "{odd}");
        }
        assert!(Conflist::read("{").is_err());
    }
}
