//! What does the runtime wish for this interface, out of all the places it may say so?
//!
//! Owns the order of those places. Addresses and MAC: `runtimeConfig` (the runtime, for this
//! attachment), `args.cni` (the conventions give it precedence over the next), `CNI_ARGS`, the
//! pod's annotations `weft.dev/ips` and `weft.dev/mac`. The first place that says anything is
//! taken whole; places are not mixed. DNS: `runtimeConfig.dns`, then the configuration's `dns`.
//! Whether a wish can be granted is the daemon's business, but numbers are in range here.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::args::Args;
use crate::call::Call;
use crate::daemon::{Bandwidth, PortMapping, PortProtocol};
use crate::spec::{self, CniArgs, CniError, Code, Config, Dns, RuntimeConfig};

/// The pod's annotation that names its addresses, separated by commas.
pub(crate) const IPS_ANNOTATION: &str = "weft.dev/ips";

/// The pod's annotation that names its MAC address.
pub(crate) const MAC_ANNOTATION: &str = "weft.dev/mac";

/// What an ADD wishes for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) args: Args,
    pub(crate) ips: Vec<IpNetwork>,
    pub(crate) mac: Option<String>,
    pub(crate) mtu: Option<u16>,
    pub(crate) ports: Vec<PortMapping>,
    pub(crate) bandwidth: Option<Bandwidth>,
    pub(crate) dns: Dns,
}

impl Wish {
    pub(crate) fn read(call: &Call<'_>) -> Result<Self, CniError> {
        // Like an empty one, a value that is no UTF-8 would count as absent: not this one, since
        // the pod's name is in it.
        let raw = call.environment.raw("CNI_ARGS").unwrap_or_default();
        let text = raw.to_str().ok_or_else(|| "it is not UTF-8".to_owned());
        let args = text.and_then(|text| Args::read(text).map_err(|error| error.to_string()));
        let malformed =
            |why| CniError::new(Code::INVALID_ENVIRONMENT, "CNI_ARGS is malformed", why);
        Self::gather(args.map_err(malformed)?, &call.config)
    }

    fn gather(args: Args, config: &Config) -> Result<Self, CniError> {
        let runtime: RuntimeConfig = section("runtimeConfig", &config.runtime_config)?;
        let cni = config.args.get("cni").unwrap_or(&Value::Null);
        let cni: CniArgs = section("args.cni", cni)?;
        let ports = runtime.port_mappings.iter();
        Ok(Self {
            ips: addresses(&runtime, &cni, &args)?,
            mac: mac(&runtime, &cni, &args),
            mtu: mtu(config.mtu)?,
            ports: ports.filter_map(port).collect::<Result<_, _>>()?,
            bandwidth: runtime.bandwidth.map(bandwidth),
            dns: runtime
                .dns
                .map(Dns::from)
                .filter(|dns| !dns.is_empty())
                .unwrap_or_else(|| config.dns.clone()),
            args,
        })
    }
}

/// A part of the configuration that only ADD reads.
fn section<T: DeserializeOwned + Default>(key: &str, value: &Value) -> Result<T, CniError> {
    if value.is_null() {
        return Ok(T::default());
    }
    let refuse = |why: String| {
        let msg = "cannot decode the configuration on stdin";
        CniError::new(Code::DECODE, msg, format!("{key}: {why}"))
    };
    // An array would be read as the fields in their order.
    if !value.is_object() {
        return Err(refuse("not an object".to_owned()));
    }
    T::deserialize(value).map_err(|error| refuse(error.to_string()))
}

fn invalid(details: String) -> CniError {
    CniError::new(
        Code::INVALID_CONFIG,
        "the configuration cannot be honoured",
        details,
    )
}

fn annotation<'a>(runtime: &'a RuntimeConfig, key: &str) -> &'a str {
    let value = runtime.annotations.get(key).and_then(Value::as_str);
    value.map(str::trim).unwrap_or_default()
}

fn addresses(
    runtime: &RuntimeConfig,
    cni: &CniArgs,
    args: &Args,
) -> Result<Vec<IpNetwork>, CniError> {
    let listed = |list: &[String]| list.to_vec();
    let split = |text: &str| match text {
        "" => vec![],
        text => text.split(',').map(str::to_owned).collect(),
    };
    let places = [
        ("runtimeConfig.ips", listed(&runtime.ips)),
        ("args.cni.ips", listed(&cni.ips)),
        ("IP of CNI_ARGS", split(&args.ip)),
        (IPS_ANNOTATION, split(annotation(runtime, IPS_ANNOTATION))),
    ];
    let said = places.into_iter().find(|(_, list)| !list.is_empty());
    let Some((place, list)) = said else {
        return Ok(vec![]);
    };
    let read = |text: &String| {
        let address = text.trim().parse();
        address.map_err(|_| invalid(format!("{place}: {text:?} is no IP address")))
    };
    list.iter().map(read).collect()
}

fn mac(runtime: &RuntimeConfig, cni: &CniArgs, args: &Args) -> Option<String> {
    let places = [
        runtime.mac.as_deref().unwrap_or_default(),
        cni.mac.as_deref().unwrap_or_default(),
        &args.mac,
        annotation(runtime, MAC_ANNOTATION),
    ];
    let said = places.into_iter().find(|mac| !mac.is_empty());
    said.map(str::to_owned)
}

fn mtu(mtu: Option<u64>) -> Result<Option<u16>, CniError> {
    match mtu.filter(|mtu| *mtu != 0).map(u16::try_from) {
        None => Ok(None),
        Some(Ok(mtu)) => Ok(Some(mtu)),
        Some(Err(_)) => Err(invalid(format!(
            "mtu: {} is more than 65535 bytes",
            mtu.unwrap_or_default()
        ))),
    }
}

/// A mapping of host port 0 maps nothing: runtimes list every port of the pod.
fn port(mapping: &spec::PortMapping) -> Option<Result<PortMapping, CniError>> {
    (mapping.host_port != 0).then(|| {
        let text = mapping.host_ip.as_deref().unwrap_or_default();
        let host_ip = match text.parse::<IpAddr>() {
            _ if text.is_empty() => None,
            Ok(ip) => Some(ip).filter(|ip| !ip.is_unspecified()),
            Err(_) => {
                let what = format!("portMappings: hostIP {text:?} is no IP address");
                return Err(invalid(what));
            }
        };
        Ok(PortMapping {
            host_port: number("hostPort", mapping.host_port)?,
            container_port: number("containerPort", mapping.container_port)?,
            protocol: protocol(mapping.protocol.as_deref().unwrap_or_default())?,
            host_ip,
        })
    })
}

fn number(key: &str, number: i64) -> Result<u16, CniError> {
    let port = u16::try_from(number).ok().filter(|port| *port != 0);
    port.ok_or_else(|| invalid(format!("portMappings: {key} {number} is not 1 to 65535")))
}

fn protocol(name: &str) -> Result<PortProtocol, CniError> {
    match name.to_ascii_lowercase().as_str() {
        "" | "tcp" => Ok(PortProtocol::Tcp),
        "udp" => Ok(PortProtocol::Udp),
        "sctp" => Ok(PortProtocol::Sctp),
        _ => Err(invalid(format!(
            "portMappings: protocol {name:?} is none of tcp, udp and sctp"
        ))),
    }
}

/// The burst that runtimes give for a pod that asks for a rate alone.
const NO_BURST: u64 = u32::MAX as u64;

/// The least burst in its place, in bits: four of the largest packets.
const LEAST_BURST: u64 = 4 * 65_536 * 8;

fn bandwidth(limits: spec::Bandwidth) -> Bandwidth {
    // Taken at its word, it would let half a gigabyte pass before any limit.
    let burst = |rate: u64, burst: u64| match burst {
        NO_BURST => (rate / 10).max(LEAST_BURST),
        burst => burst,
    };
    Bandwidth {
        ingress_rate: limits.ingress_rate,
        ingress_burst: burst(limits.ingress_rate, limits.ingress_burst),
        egress_rate: limits.egress_rate,
        egress_burst: burst(limits.egress_rate, limits.egress_burst),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn gather(args: &str, config: Value) -> Result<Wish, CniError> {
        let config = serde_json::from_value(config).unwrap();
        Wish::gather(Args::read(args).unwrap(), &config)
    }

    fn texts(wish: &Wish) -> Vec<String> {
        wish.ips.iter().map(IpNetwork::to_string).collect()
    }

    #[test]
    fn the_first_place_that_speaks_is_taken_whole() {
        let runtime = json!({"ips": ["10.0.0.1/24", "fd00::1"], "mac": "m1"});
        let cni = json!({"ips": ["10.0.0.2"], "mac": "m2"});
        let args = "IP=10.0.0.3, fd00::3;MAC=m3";
        let pod = json!({"weft.dev/ips": " 10.0.0.4 ", "weft.dev/mac": "m4", "n": 1});
        let with = |runtime: &Value, cni: &Value, args| {
            let mut runtime = runtime.clone();
            runtime["io.kubernetes.cri.pod-annotations"] = pod.clone();
            gather(
                args,
                json!({"runtimeConfig": runtime, "args": {"cni": cni}}),
            )
            .unwrap()
        };
        let none = json!({});
        for (wish, ips, mac) in [
            (
                with(&runtime, &cni, args),
                vec!["10.0.0.1/24", "fd00::1/128"],
                "m1",
            ),
            (with(&none, &cni, args), vec!["10.0.0.2/32"], "m2"),
            (
                with(&none, &none, args),
                vec!["10.0.0.3/32", "fd00::3/128"],
                "m3",
            ),
            (with(&none, &none, ""), vec!["10.0.0.4/32"], "m4"),
        ] {
            assert_eq!(texts(&wish), ips);
            assert_eq!(wish.mac.as_deref(), Some(mac));
        }
        let nothing = gather("", json!({})).unwrap();
        assert_eq!(nothing, Wish::default());
    }

    #[test]
    fn what_is_no_address_is_named_with_its_place() {
        for (args, config, place) in [
            ("IP=10.0.0.300", json!({}), "IP of CNI_ARGS: \"10.0.0.300\""),
            ("IP=10.0.0.1,", json!({}), "IP of CNI_ARGS: \"\""),
            (
                "",
                json!({"runtimeConfig": {"ips": ["x"]}}),
                "runtimeConfig.ips: \"x\"",
            ),
            (
                "",
                json!({"args": {"cni": {"ips": ["1.2.3.4/33"]}}}),
                "args.cni.ips: ",
            ),
        ] {
            let error = gather(args, config).unwrap_err();
            assert_eq!(error.code, Code::INVALID_CONFIG);
            assert!(error.details.starts_with(place), "{error}");
        }
    }

    #[test]
    fn ports_are_those_that_map_something() {
        let wish = gather(
            "",
            json!({"runtimeConfig": {"portMappings": [
                {"hostPort": 0, "containerPort": 80},
                {"hostPort": 8080, "containerPort": 80, "protocol": "TCP", "hostIP": "0.0.0.0"},
                {"hostPort": 53, "containerPort": 5353, "protocol": "udp", "hostIP": "192.0.2.1"},
            ]}}),
        );
        let ports = wish.unwrap().ports;
        assert_eq!(ports.len(), 2);
        assert_eq!((ports[0].host_port, ports[0].host_ip), (8080, None));
        assert_eq!(ports[1].protocol, PortProtocol::Udp);
        assert_eq!(ports[1].host_ip, Some("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn numbers_and_words_out_of_range_are_refused() {
        let port = |value: Value| json!({"runtimeConfig": {"portMappings": [value]}});
        for (config, code) in [
            (
                port(json!({"hostPort": 70000, "containerPort": 1})),
                Code::INVALID_CONFIG,
            ),
            (
                port(json!({"hostPort": -1, "containerPort": 1})),
                Code::INVALID_CONFIG,
            ),
            (
                port(json!({"hostPort": 1, "containerPort": 0})),
                Code::INVALID_CONFIG,
            ),
            (
                port(json!({"hostPort": 1, "containerPort": 1, "protocol": "icmp"})),
                Code::INVALID_CONFIG,
            ),
            (
                port(json!({"hostPort": 1, "containerPort": 1, "hostIP": "host"})),
                Code::INVALID_CONFIG,
            ),
            (port(json!({"hostPort": "1"})), Code::DECODE),
            (
                json!({"runtimeConfig": {"bandwidth": {"ingressRate": -1}}}),
                Code::DECODE,
            ),
            (json!({"runtimeConfig": []}), Code::DECODE),
            (json!({"args": {"cni": "x"}}), Code::DECODE),
            (json!({"mtu": 65536}), Code::INVALID_CONFIG),
        ] {
            let error = gather("", config.clone()).unwrap_err();
            assert_eq!(error.code, code, "{config}");
        }
    }

    #[test]
    fn a_burst_nobody_asked_for_is_a_tenth_of_a_second() {
        let wish = gather(
            "",
            json!({"runtimeConfig": {"bandwidth": {
                "ingressRate": 100_000_000, "ingressBurst": u32::MAX,
                "egressRate": 1000, "egressBurst": u32::MAX,
            }}}),
        );
        let given = wish.unwrap().bandwidth.unwrap();
        let bursts = (given.ingress_burst, given.egress_burst);
        assert_eq!(bursts, (10_000_000, LEAST_BURST));
        let asked = json!({"runtimeConfig": {"bandwidth": {"egressRate": 8, "egressBurst": 9}}});
        let given = gather("", asked).unwrap().bandwidth.unwrap();
        assert_eq!((given.egress_rate, given.egress_burst), (8, 9));
    }

    #[test]
    fn dns_of_the_runtime_precedes_the_configuration() {
        let config = json!({"dns": {"nameservers": ["10.0.0.1"]}});
        assert_eq!(gather("", config).unwrap().dns.nameservers, ["10.0.0.1"]);
        let both = json!({
            "dns": {"nameservers": ["10.0.0.1"]},
            "runtimeConfig": {"dns": {"servers": ["10.0.0.2"]}},
        });
        assert_eq!(gather("", both).unwrap().dns.nameservers, ["10.0.0.2"]);
        let empty = json!({
            "dns": {"nameservers": ["10.0.0.1"]},
            "runtimeConfig": {"dns": {"servers": null}},
        });
        assert_eq!(gather("", empty).unwrap().dns.nameservers, ["10.0.0.1"]);
    }
}
