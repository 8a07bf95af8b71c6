//! What a NetworkPolicy that is accepted says.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use proptest::prelude::*;
use weft_policy::Cidr;
use weft_policy::model::{
    Isolation, ObjectName, Operator, Peer, Peers, Policy, PortMatch, PortRange, Ports, Protocol,
    Requirement, Rule, Scope, Selector,
};
use weft_switch::cluster::objects::Object;
use weft_switch::cluster::{self, Closes, Manifest};

fn manifest(spec: &str) -> Manifest {
    cluster::parse(&format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: \
         shop}}\n{spec}"
    ))
}

fn only(manifest: &Manifest) -> Arc<Policy> {
    assert_eq!(manifest.errors, []);
    match manifest.objects.as_slice() {
        [object] => match &object.value {
            Object::NetworkPolicy(policy) => Arc::clone(policy),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// A policy in one line: `+` isolated and allows these rules, `-` not isolated.
fn show(policy: &Policy) -> String {
    let way = |isolation: &Isolation| match isolation {
        Isolation::None => "-".to_owned(),
        Isolation::Only(rules) => {
            let rules: Vec<_> = rules.iter().map(show_rule).collect();
            format!("+[{}]", rules.join(" | "))
        }
    };
    let (ingress, egress) = (way(&policy.ingress), way(&policy.egress));
    format!("{} in{ingress} out{egress}", show_selector(&policy.pods))
}

fn show_rule(rule: &Rule) -> String {
    let peers = match &rule.peers {
        Peers::Any => "any".to_owned(),
        Peers::Of(peers) => {
            let peers: Vec<_> = peers.iter().map(show_peer).collect();
            peers.join(" or ")
        }
    };
    let ports = match &rule.ports {
        Ports::Any => "any".to_owned(),
        Ports::Of(ports) => {
            let ports = ports.iter().map(|port| match &port.port {
                PortRange::Any => port.protocol.to_string(),
                PortRange::Numbers(a, b) if a == b => format!("{} {a}", port.protocol),
                PortRange::Numbers(a, b) => format!("{} {a}-{b}", port.protocol),
                PortRange::Named(name) => format!("{} {name}", port.protocol),
            });
            ports.collect::<Vec<_>>().join(" or ")
        }
    };
    format!("{peers} at {ports}")
}

fn show_peer(peer: &Peer) -> String {
    match peer {
        Peer::Block { cidr, except } if except.is_empty() => cidr.to_string(),
        Peer::Block { cidr, except } => {
            let holes: Vec<_> = except.iter().map(ToString::to_string).collect();
            format!("{cidr} but {}", holes.join(" "))
        }
        Peer::Pods { namespaces, pods } => match namespaces {
            Scope::Own => show_selector(pods),
            Scope::Matching(namespaces) => {
                format!("{}/{}", show_selector(namespaces), show_selector(pods))
            }
        },
    }
}

fn show_selector(selector: &Selector) -> String {
    let values = |values: &BTreeSet<String>| {
        let values: Vec<_> = values.iter().map(String::as_str).collect();
        values.join(",")
    };
    let requirements = selector.requirements.iter().map(|r| match &r.operator {
        Operator::In(all) => format!("{}={}", r.key, values(all)),
        Operator::NotIn(all) => format!("{}!={}", r.key, values(all)),
        Operator::Exists => r.key.clone(),
        Operator::DoesNotExist => format!("!{}", r.key),
    });
    format!("({})", requirements.collect::<Vec<_>>().join(" "))
}

/// Specs, what they say, and the fields somebody is told about.
const GOOD: &[(&str, &str, &[&str])] = &[
    // Defaults.
    ("", "() in+[] out-", &["spec"]),
    ("spec: {}", "() in+[] out-", &["spec.podSelector"]),
    ("spec:", "() in+[] out-", &["spec"]),
    ("spec: {podSelector: {}}", "() in+[] out-", &[]),
    (
        "spec: {podSelector: }",
        "() in+[] out-",
        &["spec.podSelector"],
    ),
    (
        "spec: {podSelector: {}, policyTypes: []}",
        "() in+[] out-",
        &[],
    ),
    (
        "spec: {podSelector: {}, policyTypes: }",
        "() in+[] out-",
        &["spec.policyTypes"],
    ),
    ("spec: {podSelector: {}, egress: []}", "() in+[] out-", &[]),
    (
        "spec: {podSelector: {}, egress: [{}]}",
        "() in+[] out+[any at any]",
        &[],
    ),
    (
        "spec: {podSelector: {}, policyTypes: [Egress]}",
        "() in- out+[]",
        &[],
    ),
    (
        "spec: {podSelector: {}, policyTypes: [Egress, Ingress]}",
        "() in+[] out+[]",
        &[],
    ),
    (
        "spec: {podSelector: {}, policyTypes: [Egress, Egress]}",
        "() in- out+[]",
        &[],
    ),
    (
        "spec: {podSelector: {}, policyTypes: [Egress], ingress: [{}]}",
        "() in- out+[]",
        &["spec.ingress"],
    ),
    (
        "spec: {podSelector: {}, policyTypes: [Ingress], egress: [{}]}",
        "() in+[] out-",
        &["spec.egress"],
    ),
    // Empty and absent.
    ("spec: {podSelector: {}, ingress: []}", "() in+[] out-", &[]),
    (
        "spec: {podSelector: {}, ingress: }",
        "() in+[] out-",
        &["spec.ingress"],
    ),
    (
        "spec: {podSelector: {}, ingress: [{}]}",
        "() in+[any at any] out-",
        &[],
    ),
    (
        "spec: {podSelector: {}, ingress: [{from: [], ports: []}]}",
        "() in+[any at any] out-",
        &["spec.ingress[0].from", "spec.ingress[0].ports"],
    ),
    (
        "spec: {podSelector: {}, ingress: [{from: , ports: }]}",
        "() in+[any at any] out-",
        &["spec.ingress[0].from", "spec.ingress[0].ports"],
    ),
    (
        "spec: {podSelector: {matchLabels: , matchExpressions: }}",
        "() in+[] out-",
        &[
            "spec.podSelector.matchLabels",
            "spec.podSelector.matchExpressions",
        ],
    ),
    (
        "spec: {podSelector: {matchLabels: {}, matchExpressions: []}}",
        "() in+[] out-",
        &[],
    ),
    // Selectors.
    (
        "spec: {podSelector: {matchLabels: {a: b, c: ''}, matchExpressions: [{key: x.y/d, operator: In, values: [e, f, e]}, {key: g, operator: NotIn, values: ['8']}, {key: h, operator: Exists}, {key: i, operator: DoesNotExist, values: []}]}}",
        "(a=b c= x.y/d=e,f g!=8 h !i) in+[] out-",
        &[],
    ),
    // Peers.
    (
        "spec: {podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}",
        "() in+[() at any] out-",
        &[],
    ),
    (
        "spec: {podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}",
        "() in+[()/() at any] out-",
        &[],
    ),
    (
        "spec: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {a: b}}, podSelector: {matchLabels: {c: d}}}]}]}",
        "() in+[(a=b)/(c=d) at any] out-",
        &[],
    ),
    (
        "spec: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {a: b}}}, {podSelector: {matchLabels: {c: d}}}]}]}",
        "() in+[(a=b)/() or (c=d) at any] out-",
        &[],
    ),
    (
        "spec: {podSelector: {}, ingress: [{from: [{namespaceSelector: {}, podSelector: }]}]}",
        "() in+[()/() at any] out-",
        &["spec.ingress[0].from[0].podSelector"],
    ),
    (
        "spec: {podSelector: {}, ingress: [{from: [{namespaceSelector: , podSelector: {}}]}]}",
        "() in+[() at any] out-",
        &["spec.ingress[0].from[0].namespaceSelector"],
    ),
    (
        "spec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16, 10.2.0.1/32]}}]}]}",
        "() in+[10.0.0.0/8 but 10.1.0.0/16 10.2.0.1/32 at any] out-",
        &[],
    ),
    (
        "spec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '::/0', except: }}]}]}",
        "() in+[::/0 at any] out-",
        &["spec.ingress[0].from[0].ipBlock.except"],
    ),
    (
        "spec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.5/24}}]}]}",
        "() in+[10.0.0.0/24 at any] out-",
        &["spec.ingress[0].from[0].ipBlock.cidr"],
    ),
    // Ports.
    (
        "spec: {podSelector: {}, ingress: [{ports: [{port: 80}, {port: 80, protocol: UDP}, {protocol: SCTP}, {port: http}, {port: 1, endPort: 65535}, {port: 7, endPort: 7}, {}]}]}",
        "() in+[any at TCP 80 or UDP 80 or SCTP or TCP http or TCP 1-65535 or TCP 7 or TCP] out-",
        &[],
    ),
    (
        "spec: {podSelector: {}, ingress: [{ports: [{port: , endPort: , protocol: }]}]}",
        "() in+[any at TCP] out-",
        &[
            "spec.ingress[0].ports[0].port",
            "spec.ingress[0].ports[0].endPort",
            "spec.ingress[0].ports[0].protocol",
        ],
    ),
    // YAML.
    (
        "spec: {podSelector: &all {}, ingress: [{from: [{podSelector: *all}]}]}",
        "() in+[() at any] out-",
        &[],
    ),
    (
        "spec:\n  podSelector: {matchLabels: &l {a: b}}\n  ingress: [{from: [{podSelector: {matchLabels: {<<: *l, c: d}}}]}]",
        "(a=b) in+[(c=d a=b) at any] out-",
        &[],
    ),
    (
        "spec: {\"podSelector\": {\"matchLabels\": {\"a\": \"yes\", \"b\": '8', c: !!str 8}}}",
        "(a=yes b=8 c=8) in+[] out-",
        &[],
    ),
];

#[test]
fn what_is_absent_empty_or_nothing() {
    for (spec, says, told) in GOOD {
        let manifest = manifest(spec);
        // Labels are kept in order of their keys.
        let policy = only(&manifest);
        let mut says = (*says).to_owned();
        if says.contains("(c=d a=b)") {
            says = says.replace("(c=d a=b)", "(a=b c=d)");
        }
        assert_eq!(show(&policy), says, "{spec}");
        let fields: Vec<_> = manifest.notices.iter().map(|n| n.field.as_str()).collect();
        let unordered: BTreeSet<_> = fields.iter().copied().collect();
        assert_eq!(unordered, told.iter().copied().collect(), "{spec}");
        assert_eq!(fields.len(), told.len(), "{spec}: told once");
    }
}

/// Wrong specs, and what is isolated instead.
const CLOSED: &[(&str, &str)] = &[
    (
        "spec: {podSelector: {matchLabels: {a: b}}, ingress: [{form: []}]}",
        "(a=b) in+[] out-",
    ),
    (
        "spec: {podSelector: {matchLabels: {a: b}}, ingress: [{}], egress: [{form: []}]}",
        "(a=b) in+[] out+[]",
    ),
    (
        "spec: {podSelector: {matchLabels: {a: b}}, policyTypes: [Egress], egress: [{form: []}]}",
        "(a=b) in- out+[]",
    ),
    (
        "spec: {podSelector: {matchLabels: {a: b}}, policyTypes: [egress]}",
        "(a=b) in+[] out+[]",
    ),
    (
        "spec: {podSelector: {matchLabels: {a: b}}, policytypes: [Egress]}",
        "(a=b) in+[] out+[]",
    ),
    (
        "spec: {podSelector: {matchlabels: {a: b}}, policyTypes: [Egress]}",
        "() in- out+[]",
    ),
    (
        "spec: {podselector: {matchLabels: {a: b}}}",
        "() in+[] out+[]",
    ),
    (
        "spec: {podSelector: {matchLabels: {a: b}}, egress: {}}",
        "(a=b) in+[] out+[]",
    ),
    (
        "spec: {podSelector: {matchLabels: {a: b}}, policyTypes: [Ingress], policyTypes: [Egress]}",
        "() in+[] out+[]",
    ),
    ("spec: []", "() in+[] out+[]"),
    ("specs: {}", "() in+[] out-"),
];

#[test]
fn a_wrong_policy_closes_what_it_might_isolate() {
    for (spec, expected) in CLOSED {
        let manifest = manifest(spec);
        let [broken] = manifest.broken.as_slice() else {
            panic!("{spec}: {manifest:?}")
        };
        let Closes::Policy(policy) = &broken.closes else {
            panic!("{spec}: {broken:?}")
        };
        assert_eq!(show(policy), *expected, "{spec}");
    }
}

/// Metadata with an error somewhere else or in itself, and what is closed.
const METADATA: &[(&str, &str)] = &[
    ("metadata: {name: p, namespace: shop}", "policy shop/p"),
    ("metadata: {name: p}", "policy default/p"),
    ("metadata: {name: p, namespce: shop}", "everything"),
    (
        "metadata: {name: p, namespace: shop, lables: {}}",
        "policy shop/p",
    ),
    ("metadata: {name: p, namespace: Shop}", "everything"),
    (
        "metadata: {name: p, namespace: shop, namespace: other}",
        "everything",
    ),
    ("metadata: {name: P, namespace: shop}", "namespace shop"),
    ("metadata: {namespace: shop}", "namespace shop"),
    ("metadata: {}", "everything"),
    ("metadata: [shop]", "everything"),
    ("metdata: {name: p, namespace: shop}", "everything"),
    ("", "everything"),
];

#[test]
fn what_is_closed_is_where_the_policy_may_belong() {
    for (metadata, expected) in METADATA {
        let text = format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n{metadata}\nspec: \
             {{podSelectr: {{}}}}\n"
        );
        let manifest = cluster::parse(&text);
        let [broken] = manifest.broken.as_slice() else {
            panic!("{text}: {manifest:?}")
        };
        let closes = match &broken.closes {
            Closes::Policy(policy) => format!("policy {}", policy.name),
            Closes::Namespace(name) => format!("namespace {name}"),
            Closes::Everything => "everything".to_owned(),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(closes, *expected, "{text}");
    }
}

fn word() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9]{0,5}"
}

fn requirement() -> impl Strategy<Value = Requirement> {
    let values = || prop::collection::btree_set(word(), 1..3);
    let operator = prop_oneof![
        values().prop_map(Operator::In),
        values().prop_map(Operator::NotIn),
        Just(Operator::Exists),
        Just(Operator::DoesNotExist),
    ];
    (word(), operator).prop_map(|(key, operator)| Requirement { key, operator })
}

fn selector() -> impl Strategy<Value = Selector> {
    let requirements = prop::collection::vec(requirement(), 0..3);
    requirements.prop_map(|requirements| Selector { requirements })
}

fn block() -> impl Strategy<Value = Peer> {
    (
        any::<u32>(),
        0..=28u8,
        prop::collection::vec((any::<u32>(), 1..=4u8), 0..3),
    )
        .prop_map(|(base, length, holes)| {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            let range = |base: u32, length: u8| {
                let base = weft_policy::cidr::masked(std::net::Ipv4Addr::from(base).into(), length);
                Cidr::new(base, length).unwrap()
            };
            let hole =
                |(host, more): (u32, u8)| range((base & mask) | (host & !mask), length + more);
            Peer::Block {
                cidr: range(base, length),
                except: holes.into_iter().map(hole).collect(),
            }
        })
}

fn peer() -> impl Strategy<Value = Peer> {
    let scope = prop_oneof![Just(Scope::Own), selector().prop_map(Scope::Matching)];
    prop_oneof![
        (scope, selector()).prop_map(|(namespaces, pods)| Peer::Pods { namespaces, pods }),
        block(),
    ]
}

fn port() -> impl Strategy<Value = PortMatch> {
    let protocol = prop_oneof![
        Just(Protocol::Tcp),
        Just(Protocol::Udp),
        Just(Protocol::Sctp)
    ];
    let range = prop_oneof![
        Just(PortRange::Any),
        (1..=u16::MAX).prop_map(|port| PortRange::Numbers(port, port)),
        (1..=u16::MAX, 1..=u16::MAX).prop_map(|(a, b)| PortRange::Numbers(a.min(b), a.max(b))),
        word().prop_map(PortRange::Named),
    ];
    (protocol, range).prop_map(|(protocol, port)| PortMatch { protocol, port })
}

fn isolation() -> impl Strategy<Value = Isolation> {
    let peers = prop_oneof![
        Just(Peers::Any),
        prop::collection::vec(peer(), 1..3).prop_map(Peers::Of)
    ];
    let ports = prop_oneof![
        Just(Ports::Any),
        prop::collection::vec(port(), 1..3).prop_map(Ports::Of)
    ];
    let rule = (peers, ports).prop_map(|(peers, ports)| Rule { peers, ports });
    prop_oneof![
        1 => Just(Isolation::None),
        3 => prop::collection::vec(rule, 0..3).prop_map(Isolation::Only),
    ]
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let isolated = (isolation(), isolation())
        .prop_filter("isolates nothing", |(i, e)| i.isolates() || e.isolates());
    (word(), word(), selector(), isolated).prop_map(|(namespace, name, pods, (ingress, egress))| {
        Policy {
            name: ObjectName { namespace, name },
            pods,
            ingress,
            egress,
        }
    })
}

fn render_selector(selector: &Selector) -> String {
    let quoted = |values: &BTreeSet<String>| {
        let values: Vec<_> = values.iter().map(|v| format!("\"{v}\"")).collect();
        values.join(", ")
    };
    let expressions = selector.requirements.iter().map(|r| {
        let rest = match &r.operator {
            Operator::In(values) => format!("In, values: [{}]", quoted(values)),
            Operator::NotIn(values) => format!("NotIn, values: [{}]", quoted(values)),
            Operator::Exists => "Exists".to_owned(),
            Operator::DoesNotExist => "DoesNotExist".to_owned(),
        };
        format!("{{key: \"{}\", operator: {rest}}}", r.key)
    });
    let expressions: Vec<_> = expressions.collect();
    format!("{{matchExpressions: [{}]}}", expressions.join(", "))
}

fn render_peer(peer: &Peer) -> String {
    match peer {
        Peer::Pods { namespaces, pods } => {
            let pods = render_selector(pods);
            match namespaces {
                Scope::Own => format!("{{podSelector: {pods}}}"),
                Scope::Matching(namespaces) => {
                    let namespaces = render_selector(namespaces);
                    format!("{{namespaceSelector: {namespaces}, podSelector: {pods}}}")
                }
            }
        }
        Peer::Block { cidr, except } => {
            let except: Vec<_> = except.iter().map(ToString::to_string).collect();
            format!(
                "{{ipBlock: {{cidr: {cidr}, except: [{}]}}}}",
                except.join(", ")
            )
        }
    }
}

fn render_rules(text: &mut String, name: &str, peers: &str, isolation: &Isolation) {
    let rules = isolation.rules().iter().map(|rule| {
        let mut parts = Vec::new();
        if let Peers::Of(of) = &rule.peers {
            let of: Vec<_> = of.iter().map(render_peer).collect();
            parts.push(format!("{peers}: [{}]", of.join(", ")));
        }
        if let Ports::Of(of) = &rule.ports {
            let of = of.iter().map(|port| {
                let range = match &port.port {
                    PortRange::Any => String::new(),
                    PortRange::Numbers(a, b) if a == b => format!(", port: {a}"),
                    PortRange::Numbers(a, b) => format!(", port: {a}, endPort: {b}"),
                    PortRange::Named(name) => format!(", port: \"{name}\""),
                };
                format!("{{protocol: {}{range}}}", port.protocol)
            });
            parts.push(format!("ports: [{}]", of.collect::<Vec<_>>().join(", ")));
        }
        format!("{{{}}}", parts.join(", "))
    });
    let rules: Vec<_> = rules.collect();
    writeln!(text, "  {name}: [{}]", rules.join(", ")).unwrap();
}

fn render(policy: &Policy) -> String {
    let (name, pods) = (&policy.name, render_selector(&policy.pods));
    let mut text = format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: \"{}\", \
         namespace: \"{}\"}}\nspec:\n  podSelector: {pods}\n",
        name.name, name.namespace
    );
    let ways = [("Ingress", &policy.ingress), ("Egress", &policy.egress)];
    let types = ways.iter().filter(|(_, isolation)| isolation.isolates());
    let types: Vec<_> = types.map(|(word, _)| *word).collect();
    writeln!(text, "  policyTypes: [{}]", types.join(", ")).unwrap();
    render_rules(&mut text, "ingress", "from", &policy.ingress);
    render_rules(&mut text, "egress", "to", &policy.egress);
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_is_written_is_read(policy in any_policy()) {
        let text = render(&policy);
        let manifest = cluster::parse(&text);
        prop_assert_eq!(&*only(&manifest), &policy, "{}", text);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[a-zA-Z0-9:{}\\[\\]\\-&*!|>'\"%@#?,~ \n\t\r\u{feff}\u{e9}\\.]{0,80}") {
        let manifest = cluster::parse(&text);
        for broken in &manifest.broken {
            prop_assert!(broken.errors.end <= manifest.errors.len());
        }
    }

    /// One character more, less or other: never accepted as something that nobody is told of
    /// and that isolates less. A policy that is refused isolates at least as much.
    #[test]
    fn a_slip_never_isolates_less_in_silence(
        policy in any_policy(), at in any::<prop::sample::Index>(), slip in 0..3, by in "[a-zA-Z0-9:{}\\[\\], \"-]",
    ) {
        let text = render(&policy);
        let from = text.find("spec:").unwrap();
        let at = from + at.index(text.len() - from);
        let mut slipped = text.clone();
        match slip {
            0 => slipped.insert_str(at, &by),
            1 => { slipped.remove(at); }
            _ => slipped.replace_range(at..=at, &by),
        }
        let manifest = cluster::parse(&slipped);
        let told = !manifest.errors.is_empty() || !manifest.notices.is_empty();
        if let [object] = manifest.objects.as_slice() {
            let Object::NetworkPolicy(read) = &object.value else { panic!("{slipped}") };
            let less = |before: &Isolation, now: &Isolation| before.isolates() && !now.isolates();
            let less = less(&policy.ingress, &read.ingress) || less(&policy.egress, &read.egress);
            prop_assert!(told || !less, "{slipped}");
        } else {
            prop_assert!(!manifest.errors.is_empty(), "{slipped}");
            let closes = manifest.broken.iter().any(|b| b.closes != Closes::Nothing);
            prop_assert!(closes, "{slipped}\n{manifest:?}");
        }
    }
}
