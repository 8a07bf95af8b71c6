//! What does a plugin say that it did?
//!
//! Owns the success result of the specification (section 5): read from any version's form, the
//! ones before 0.3 included, since a delegated plugin may be old; written in the form of the
//! version asked for. Never invents a field.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{Dns, Version};

/// Why something is no result.
#[derive(Debug, thiserror::Error)]
#[error("not a result of a CNI plugin: {0}")]
pub struct ResultError(#[from] serde_json::Error);

/// What exists after an ADD.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Success {
    /// The interfaces that were made, on the host too.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub interfaces: Vec<Interface>,
    /// Their addresses.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub ips: Vec<IpConfig>,
    /// The routes that were made.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub routes: Vec<Route>,
    /// How names are resolved.
    #[serde(default)]
    pub dns: Option<Dns>,
}

/// An interface of a result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Its MTU in bytes; since 1.1.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u64>,
    /// The namespace it is in, as `CNI_NETNS` had it; absent on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// A socket file behind it; since 1.1.0.
    #[serde(rename = "socketPath", skip_serializing_if = "Option::is_none")]
    pub socket_path: Option<String>,
    /// The PCI device behind it; since 1.1.0.
    #[serde(rename = "pciID", skip_serializing_if = "Option::is_none")]
    pub pci_id: Option<String>,
}

/// An address of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpConfig {
    /// Index of its interface in the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<usize>,
    /// The address with its prefix length.
    pub address: IpNetwork,
    /// The gateway of that prefix.
    #[serde(default, deserialize_with = "empty_is_none")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
}

/// A route of a result; all but the first two since 1.1.0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub dst: IpNetwork,
    /// The next hop.
    #[serde(default, deserialize_with = "empty_is_none")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gw: Option<IpAddr>,
    /// MTU of the road, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u64>,
    /// The segment size to announce.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advmss: Option<u64>,
    /// Lower is better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u64>,
    /// The routing table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<u64>,
    /// How far the destination is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<u64>,
}

impl Route {
    /// A route to `dst` by way of `gw`.
    #[must_use]
    pub const fn via(dst: IpNetwork, gw: IpAddr) -> Self {
        Self {
            dst,
            gw: Some(gw),
            mtu: None,
            advmss: None,
            priority: None,
            table: None,
            scope: None,
        }
    }
}

impl Success {
    /// Reads a result of any version.
    ///
    /// # Errors
    /// If it is none.
    pub fn read(mut json: Value) -> Result<Self, ResultError> {
        let Some(object) = json.as_object_mut() else {
            // An array would be read as the fields in their order.
            let error: serde_json::Error = serde::de::Error::custom("not an object");
            return Err(error.into());
        };
        let families = ["ip4", "ip6"].map(|key| object.remove(key));
        let mut result: Self = serde_json::from_value(json)?;
        for family in families.into_iter().flatten().filter(|f| !f.is_null()) {
            let old: OldFamily = serde_json::from_value(family)?;
            result.ips.push(IpConfig {
                interface: None,
                address: old.ip,
                gateway: old.gateway,
            });
            result.routes.extend(old.routes);
        }
        Ok(result)
    }

    /// The result in the form of `version`.
    ///
    /// # Errors
    /// Never in practice: every field has a form in JSON.
    pub fn in_version(&self, version: Version) -> Result<Value, ResultError> {
        let mut json = Map::new();
        json.insert("cniVersion".into(), version.name().into());
        if !self.interfaces.is_empty() {
            json.insert("interfaces".into(), serde_json::to_value(&self.interfaces)?);
        }
        if !self.ips.is_empty() {
            json.insert("ips".into(), serde_json::to_value(&self.ips)?);
        }
        if !self.routes.is_empty() {
            json.insert("routes".into(), serde_json::to_value(&self.routes)?);
        }
        if let Some(dns) = self.dns.as_ref().filter(|dns| !dns.is_empty()) {
            json.insert("dns".into(), serde_json::to_value(dns)?);
        }
        if version < Version::V1_0_0 {
            before_1_0_0(&mut json);
        }
        Ok(Value::Object(json))
    }
}

/// The form of 0.3.1 and 0.4.0: each address names its family, and the younger fields are unknown.
/// A result of 1.0.0 is one of 1.1.0 and keeps what other plugins said, as the Go library does.
fn before_1_0_0(json: &mut Map<String, Value>) {
    let drop = |item: &mut Map<String, Value>, keys: &[&str]| {
        item.retain(|key, _| !keys.contains(&key.as_str()));
    };
    for interface in objects(json.get_mut("interfaces")) {
        drop(interface, &["mtu", "socketPath", "pciID"]);
    }
    for route in objects(json.get_mut("routes")) {
        drop(route, &["mtu", "advmss", "priority", "table", "scope"]);
    }
    for ip in objects(json.get_mut("ips")) {
        let address = ip.get("address").and_then(Value::as_str);
        let family = if address.is_some_and(|address| address.contains(':')) {
            "6"
        } else {
            "4"
        };
        ip.insert("version".into(), family.into());
    }
}

fn objects(list: Option<&mut Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    let list = list.and_then(Value::as_array_mut).into_iter().flatten();
    list.filter_map(Value::as_object_mut)
}

/// One family of a result before 0.3.
#[derive(Deserialize)]
struct OldFamily {
    ip: IpNetwork,
    #[serde(default, deserialize_with = "empty_is_none")]
    gateway: Option<IpAddr>,
    #[serde(default, deserialize_with = "null_is_empty")]
    routes: Vec<Route>,
}

fn null_is_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Go writes an address that is not there as an empty string.
fn empty_is_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    match text.filter(|text| !text.is_empty()) {
        Some(text) => text.parse().map(Some).map_err(serde::de::Error::custom),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Success {
        let gateway: IpAddr = "169.254.1.1".parse().unwrap();
        Success {
            interfaces: vec![Interface {
                name: "eth0".into(),
                mac: Some("02:00:0a:f4:01:05".into()),
                mtu: Some(1450),
                sandbox: Some("/run/netns/c1".into()),
                ..Interface::default()
            }],
            ips: vec![
                IpConfig {
                    interface: Some(0),
                    address: "10.244.1.5/32".parse().unwrap(),
                    gateway: Some(gateway),
                },
                IpConfig {
                    interface: Some(0),
                    address: "fd00::5/128".parse().unwrap(),
                    gateway: None,
                },
            ],
            routes: vec![Route {
                mtu: Some(1400),
                ..Route::via("0.0.0.0/0".parse().unwrap(), gateway)
            }],
            dns: Some(Dns {
                nameservers: vec!["10.96.0.10".into()],
                ..Dns::default()
            }),
        }
    }

    #[test]
    fn each_version_has_its_form() {
        let json = |version| serde_json::to_string(&full().in_version(version).unwrap()).unwrap();
        let old = r#"{"cniVersion":"0.4.0","dns":{"nameservers":["10.96.0.10"]},"interfaces":[{"mac":"02:00:0a:f4:01:05","name":"eth0","sandbox":"/run/netns/c1"}],"ips":[{"address":"10.244.1.5/32","gateway":"169.254.1.1","interface":0,"version":"4"},{"address":"fd00::5/128","interface":0,"version":"6"}],"routes":[{"dst":"0.0.0.0/0","gw":"169.254.1.1"}]}"#;
        assert_eq!(json(Version::V0_4_0), old);
        assert_eq!(json(Version::V0_3_1), old.replace("0.4.0", "0.3.1"));
        let new = r#"{"cniVersion":"1.1.0","dns":{"nameservers":["10.96.0.10"]},"interfaces":[{"mac":"02:00:0a:f4:01:05","mtu":1450,"name":"eth0","sandbox":"/run/netns/c1"}],"ips":[{"address":"10.244.1.5/32","gateway":"169.254.1.1","interface":0},{"address":"fd00::5/128","interface":0}],"routes":[{"dst":"0.0.0.0/0","gw":"169.254.1.1","mtu":1400}]}"#;
        assert_eq!(json(Version::V1_1_0), new);
        assert_eq!(json(Version::V1_0_0), new.replace("1.1.0", "1.0.0"));
    }

    #[test]
    fn what_was_written_is_read_back() {
        for version in Version::ALL {
            let read = Success::read(full().in_version(version).unwrap()).unwrap();
            assert_eq!(read.ips, full().ips, "{version}");
            assert_eq!(read.dns, full().dns, "{version}");
            if version >= Version::V1_0_0 {
                assert_eq!(read, full(), "{version}");
            }
        }
    }

    #[test]
    fn results_from_before_0_3_are_understood() {
        let json = serde_json::json!({
            "cniVersion": "0.2.0",
            "ip4": {"ip": "10.1.0.5/16", "gateway": "10.1.0.1", "routes": [{"dst": "0.0.0.0/0"}]},
            "ip6": null,
            "dns": {},
        });
        let read = Success::read(json).unwrap();
        assert_eq!(read.ips.len(), 1);
        assert_eq!(read.ips[0].address, "10.1.0.5/16".parse().unwrap());
        assert_eq!(read.routes.len(), 1);
    }

    #[test]
    fn nulls_and_empty_strings_are_absent() {
        let json = serde_json::json!({
            "interfaces": null, "routes": null, "dns": null,
            "ips": [{"version": "4", "address": "10.0.0.1", "gateway": ""}],
        });
        let read = Success::read(json).unwrap();
        assert_eq!(read.ips[0].gateway, None);
        assert_eq!(read.ips[0].address.prefix(), 32);
    }

    #[test]
    fn what_is_no_result_is_refused() {
        for json in ["[]", "1", r#"{"ips":[{}]}"#, r#"{"ips":[{"address":"x"}]}"#] {
            let json = serde_json::from_str(json).unwrap();
            assert!(Success::read(json).is_err());
        }
    }
}
