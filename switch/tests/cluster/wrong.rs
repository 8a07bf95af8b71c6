//! What is refused in a NetworkPolicy, on which line and in which words.

use weft_switch::cluster;

/// A policy whose `spec` begins on line 4, indented by two.
fn policy(spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: \
         shop}}\nspec:\n{spec}\n"
    )
}

/// Errors as `line: field: what`.
fn errors(text: &str) -> Vec<String> {
    let manifest = cluster::parse(text);
    let show = |e: &cluster::ManifestError| format!("{}: {}: {}", e.line, e.field, e.what);
    manifest.errors.iter().map(show).collect()
}

/// Specs, and the beginnings of their errors; `spec:` is line 4.
const SPECS: &[(&str, &[&str])] = &[
    // Fields.
    (
        "  podselector: {}",
        &["5: spec: podselector is not a field; did you mean podSelector?"],
    ),
    (
        "  podSelector: {}\n  ingres: []",
        &["6: spec: ingres is not a field; did you mean ingress?"],
    ),
    (
        "  podSelector: {}\n  rules: []",
        &[
            "6: spec: rules is not a field; the fields here are podSelector, ingress, egress, policyTypes",
        ],
    ),
    (
        "  podSelector: {}\n  policyType: [Ingress]",
        &["6: spec: policyType is not a field; did you mean policyTypes?"],
    ),
    (
        "  podSelector: {}\n  podSelector: {}",
        &["6: : the key \"podSelector\" is written twice; remove one"],
    ),
    (
        "  podSelector: {matchLabels: {a: b, a: c}}",
        &["5: : the key \"a\" is written twice"],
    ),
    ("  []", &["5: spec: is a list; write fields"]),
    (
        "  everything",
        &["5: spec: is the text \"everything\"; write fields"],
    ),
    // Selectors.
    (
        "  podSelector: []",
        &["5: spec.podSelector: is a list; write fields"],
    ),
    (
        "  podSelector: all",
        &["5: spec.podSelector: is the text \"all\"; write fields"],
    ),
    (
        "  podSelector: {app: web}",
        &[
            "5: spec.podSelector: app is not a field; the fields here are matchLabels, matchExpressions",
        ],
    ),
    (
        "  podSelector: {matchlabels: {app: web}}",
        &["5: spec.podSelector: matchlabels is not a field; did you mean matchLabels?"],
    ),
    (
        "  podSelector:\n    matchLabels: {app: 8}",
        &["6: spec.podSelector.matchLabels[app]: 8 is no text to YAML; write \"8\""],
    ),
    (
        "  podSelector:\n    matchLabels: {app: yes}",
        &["6: spec.podSelector.matchLabels[app]: yes is no text to YAML; write \"yes\""],
    ),
    (
        "  podSelector:\n    matchLabels: {app: on}",
        &["6: spec.podSelector.matchLabels[app]: on is no text to YAML"],
    ),
    (
        "  podSelector:\n    matchLabels: {app: 1.0}",
        &["6: spec.podSelector.matchLabels[app]: 1.0 is no text to YAML"],
    ),
    (
        "  podSelector:\n    matchLabels: {app: }",
        &["6: spec.podSelector.matchLabels[app]: says nothing; write a text"],
    ),
    (
        "  podSelector:\n    matchLabels: {app: [web]}",
        &["6: spec.podSelector.matchLabels[app]: is a list; write a text"],
    ),
    (
        "  podSelector:\n    matchLabels: {8: x}",
        &["6: spec.podSelector.matchLabels: 8 is no text to YAML; write the key as \"8\""],
    ),
    (
        "  podSelector:\n    matchLabels: {app: 'a b'}",
        &["6: spec.podSelector.matchLabels[app]: \"a b\" is not a label's value"],
    ),
    (
        "  podSelector:\n    matchLabels: {app: -a}",
        &["6: spec.podSelector.matchLabels[app]: \"-a\" is not a label's value"],
    ),
    (
        "  podSelector:\n    matchLabels: {a/b/c: x}",
        &["6: spec.podSelector.matchLabels[a/b/c]: \"a/b/c\" is not a label's key"],
    ),
    (
        "  podSelector:\n    matchLabels: {/c: x}",
        &["6: spec.podSelector.matchLabels[/c]: \"/c\" is not a label's key"],
    ),
    (
        "  podSelector:\n    matchLabels: [a]",
        &["6: spec.podSelector.matchLabels: is a list; write fields"],
    ),
    (
        "  podSelector:\n    matchExpressions: {key: a}",
        &["6: spec.podSelector.matchExpressions: is a mapping; write a list"],
    ),
    (
        "  podSelector:\n    matchExpressions:\n    - {key: a, operator: Equals, values: [b]}",
        &[
            "7: spec.podSelector.matchExpressions[0].operator: \"Equals\" is not In, NotIn, Exists or DoesNotExist",
        ],
    ),
    (
        "  podSelector:\n    matchExpressions:\n    - {key: a, operator: in, values: [b]}",
        &["7: spec.podSelector.matchExpressions[0].operator: \"in\" is not In"],
    ),
    (
        "  podSelector:\n    matchExpressions:\n    - {key: a, operator: In}",
        &["7: spec.podSelector.matchExpressions[0].values: In needs values"],
    ),
    (
        "  podSelector:\n    matchExpressions:\n    - {key: a, operator: NotIn, values: []}",
        &["7: spec.podSelector.matchExpressions[0].values: NotIn needs values"],
    ),
    (
        "  podSelector:\n    matchExpressions:\n    - {key: a, operator: In, values: }",
        &["7: spec.podSelector.matchExpressions[0].values: In needs values"],
    ),
    (
        "  podSelector:\n    matchExpressions:\n    - {key: a, operator: Exists, values: [b]}",
        &["7: spec.podSelector.matchExpressions[0].values: Exists takes no values"],
    ),
    (
        "  podSelector:\n    matchExpressions:\n    - {key: a, operator: DoesNotExist, values: [b]}",
        &["7: spec.podSelector.matchExpressions[0].values: DoesNotExist takes no values"],
    ),
    (
        "  podSelector:\n    matchExpressions:\n    - {operator: Exists}",
        &["7: spec.podSelector.matchExpressions[0].key: is missing"],
    ),
    (
        "  podSelector:\n    matchExpressions:\n    - {key: a}",
        &["7: spec.podSelector.matchExpressions[0].operator: is missing"],
    ),
    (
        "  podSelector:\n    matchExpressions:\n    - {key: a, operator: In, value: [b]}",
        &[
            "7: spec.podSelector.matchExpressions[0]: value is not a field; did you mean values?",
            "7: spec.podSelector.matchExpressions[0].values: In needs values",
        ],
    ),
    (
        "  podSelector:\n    matchExpressions:\n    - {key: a, operator: In, values: [1]}",
        &["7: spec.podSelector.matchExpressions[0].values[0]: 1 is no text to YAML; write \"1\""],
    ),
    (
        "  podSelector:\n    matchExpressions:\n    - {key: a, operator: In, values: b}",
        &[
            "7: spec.podSelector.matchExpressions[0].values: is the text \"b\"; write a list",
            "7: spec.podSelector.matchExpressions[0].values: In needs values",
        ],
    ),
    (
        "  podSelector:\n    matchExpressions:\n    - {key: 'a b', operator: Exists}",
        &["7: spec.podSelector.matchExpressions[0].key: \"a b\" is not a label's key"],
    ),
    (
        "  podSelector:\n    matchExpressions:\n    -",
        &["7: spec.podSelector.matchExpressions[0]: says nothing; write fields"],
    ),
    // policyTypes.
    (
        "  podSelector: {}\n  policyTypes: [ingress]",
        &["6: spec.policyTypes[0]: \"ingress\" is not Ingress or Egress"],
    ),
    (
        "  podSelector: {}\n  policyTypes: Ingress",
        &["6: spec.policyTypes: is the text \"Ingress\"; write a list"],
    ),
    (
        "  podSelector: {}\n  policyTypes: [Ingress, Egress, Ingress]",
        &["6: spec.policyTypes: has more than two items"],
    ),
    (
        "  podSelector: {}\n  policyTypes: [null]",
        &["6: spec.policyTypes[0]: says nothing; write a text"],
    ),
    // Rules.
    (
        "  podSelector: {}\n  ingress: {}",
        &["6: spec.ingress: is a mapping; write a list"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  -",
        &["7: spec.ingress[0]: says nothing; write {} for a rule that allows everything"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - []",
        &["7: spec.ingress[0]: is a list; write fields"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - to: []",
        &["7: spec.ingress[0]: to is not a field; the fields here are from, ports"],
    ),
    (
        "  podSelector: {}\n  egress:\n  - from: []",
        &["7: spec.egress[0]: from is not a field; the fields here are to, ports"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - form: []",
        &["7: spec.ingress[0]: form is not a field"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - port: []",
        &["7: spec.ingress[0]: port is not a field; did you mean ports?"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - from: {podSelector: {}}",
        &["7: spec.ingress[0].from: is a mapping; write a list"],
    ),
    // Peers.
    (
        "  podSelector: {}\n  ingress:\n  - from:\n    - {}",
        &[
            "8: spec.ingress[0].from[0]: selects nothing; write podSelector, namespaceSelector or ipBlock",
        ],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - from:\n    -",
        &["8: spec.ingress[0].from[0]: says nothing; write podSelector"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - from:\n    - podSelector:",
        &["8: spec.ingress[0].from[0]: selects nothing"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - from:\n    - 10.0.0.0/8",
        &["8: spec.ingress[0].from[0]: is the text \"10.0.0.0/8\"; write fields"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - from:\n    - podSelectors: {}",
        &["8: spec.ingress[0].from[0]: podSelectors is not a field; did you mean podSelector?"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - from:\n    - {podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}",
        &["8: spec.ingress[0].from[0].ipBlock: cannot stand beside a selector"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - from:\n    - {namespaceSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}",
        &["8: spec.ingress[0].from[0].ipBlock: cannot stand beside a selector"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - from:\n    - namespaceSelector: {name: x}",
        &["8: spec.ingress[0].from[0].namespaceSelector: name is not a field"],
    ),
    // Ranges.
    (
        "  podSelector: {}\n  ingress:\n  - from:\n    - ipBlock: {}",
        &["8: spec.ingress[0].from[0].ipBlock.cidr: is missing"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - from:\n    - ipBlock: 10.0.0.0/8",
        &["8: spec.ingress[0].from[0].ipBlock: is the text \"10.0.0.0/8\"; write fields"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - from:\n    - ipBlock: {cidr: 10.0.0.0}",
        &[
            "8: spec.ingress[0].from[0].ipBlock.cidr: \"10.0.0.0\" is not a range, such as 10.0.0.0/8",
        ],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - from:\n    - ipBlock: {cidr: 10.0.0.0/33}",
        &[
            "8: spec.ingress[0].from[0].ipBlock.cidr: 10.0.0.0/33 has a prefix longer than the address",
        ],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - from:\n    - ipBlock: {cidr: 10.0.0.0/+8}",
        &["8: spec.ingress[0].from[0].ipBlock.cidr: \"10.0.0.0/+8\" is not a range"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - from:\n    - ipBlock: {cidr: 10.0.0.0/08}",
        &["8: spec.ingress[0].from[0].ipBlock.cidr: \"10.0.0.0/08\" is not a range"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - from:\n    - ipBlock: {cidr: 010.0.0.0/8}",
        &["8: spec.ingress[0].from[0].ipBlock.cidr: \"010.0.0.0/8\" is not a range"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - from:\n    - ipBlock: {cidr: any}",
        &["8: spec.ingress[0].from[0].ipBlock.cidr: \"any\" is not a range"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - from:\n    - ipBlock: {cidr: '::ffff:10.0.0.0/104'}",
        &["8: spec.ingress[0].from[0].ipBlock.cidr: ::ffff:10.0.0.0/104 is an IPv4-mapped range"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - from:\n    - ipBlock: {cidr: 10.0.0.0/8, excepts: []}",
        &["8: spec.ingress[0].from[0].ipBlock: excepts is not a field; did you mean except?"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - from:\n    - ipBlock: {cidr: 10.0.0.0/8, except: 10.1.0.0/16}",
        &["8: spec.ingress[0].from[0].ipBlock.except: is the text \"10.1.0.0/16\"; write a list"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - from:\n    - ipBlock:\n        cidr: 10.0.0.0/8\n        except:\n        - 11.0.0.0/16",
        &[
            "11: spec.ingress[0].from[0].ipBlock.except[0]: 11.0.0.0/16 does not lie within 10.0.0.0/8, smaller than it",
        ],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - from:\n    - ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}",
        &[
            "8: spec.ingress[0].from[0].ipBlock.except[0]: 10.0.0.0/8 does not lie within 10.0.0.0/8",
        ],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - from:\n    - ipBlock: {cidr: 10.0.0.0/8, except: [0.0.0.0/0]}",
        &["8: spec.ingress[0].from[0].ipBlock.except[0]: 0.0.0.0/0 does not lie within"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - from:\n    - ipBlock: {cidr: 10.0.0.0/8, except: ['fd00::/64']}",
        &["8: spec.ingress[0].from[0].ipBlock.except[0]: fd00::/64 does not lie within"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - from:\n    - ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0]}",
        &["8: spec.ingress[0].from[0].ipBlock.except[0]: \"10.1.0.0\" is not a range"],
    ),
    // Ports.
    (
        "  podSelector: {}\n  ingress:\n  - ports: {port: 80}",
        &["7: spec.ingress[0].ports: is a mapping; write a list"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - ports: [80]",
        &["7: spec.ingress[0].ports[0]: is the number 80; write fields"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - ports:\n    -",
        &["8: spec.ingress[0].ports[0]: says nothing; write {protocol: TCP}"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - ports:\n    - port: \"80\"",
        &[
            "8: spec.ingress[0].ports[0].port: \"80\" in quotes is the name of a port; write the number 80",
        ],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - ports:\n    - port: 0",
        &["8: spec.ingress[0].ports[0].port: 0 is not a port number from 1 to 65535"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - ports:\n    - port: 65536",
        &["8: spec.ingress[0].ports[0].port: 65536 is not a port number"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - ports:\n    - port: -1",
        &["8: spec.ingress[0].ports[0].port: -1 is not a port number"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - ports:\n    - port: 010",
        &["8: spec.ingress[0].ports[0].port: 010 is not a port number"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - ports:\n    - port: 0x50",
        &["8: spec.ingress[0].ports[0].port: 0x50 is not a port number"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - ports:\n    - port: 80.0",
        &["8: spec.ingress[0].ports[0].port: 80.0 is not a port number"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - ports:\n    - port: 8000-8080",
        &["8: spec.ingress[0].ports[0].port: \"8000-8080\" is not a port's name"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - ports:\n    - port: HTTP",
        &["8: spec.ingress[0].ports[0].port: \"HTTP\" is not a port's name"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - ports:\n    - port: a-name-that-is-long",
        &[
            "8: spec.ingress[0].ports[0].port: \"a-name-that-is-long\" is not a port's name: at most 15",
        ],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - ports:\n    - port: a--b",
        &["8: spec.ingress[0].ports[0].port: \"a--b\" is not a port's name"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - ports:\n    - port: yes",
        &["8: spec.ingress[0].ports[0].port: is yes, which is true or false; write a number"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - ports:\n    - port: [80]",
        &["8: spec.ingress[0].ports[0].port: is a list; write a number"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - ports:\n    - Port: 80",
        &["8: spec.ingress[0].ports[0]: Port is not a field; did you mean port?"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - ports:\n    - {port: 80, endport: 90}",
        &["8: spec.ingress[0].ports[0]: endport is not a field; did you mean endPort?"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - ports:\n    - {port: 80, endPort: 79}",
        &["8: spec.ingress[0].ports[0].endPort: 79 is below port, which is 80"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - ports:\n    - {endPort: 79}",
        &["8: spec.ingress[0].ports[0].endPort: needs a port to begin at"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - ports:\n    - {port: http, endPort: 90}",
        &["8: spec.ingress[0].ports[0].endPort: needs a port that is a number"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - ports:\n    - {port: 80, endPort: \"90\"}",
        &["8: spec.ingress[0].ports[0].endPort: is the text \"90\"; write a number"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - ports:\n    - {port: 80, endPort: 65536}",
        &["8: spec.ingress[0].ports[0].endPort: 65536 is not a port number"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - ports:\n    - protocol: tcp",
        &["8: spec.ingress[0].ports[0].protocol: \"tcp\" is not a protocol; write TCP"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - ports:\n    - protocol: ICMP",
        &[
            "8: spec.ingress[0].ports[0].protocol: \"ICMP\" is not a protocol; write TCP, UDP or SCTP",
        ],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - ports:\n    - protocol: 6",
        &["8: spec.ingress[0].ports[0].protocol: 6 is no text to YAML"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - ports:\n    - protocol: ''",
        &["8: spec.ingress[0].ports[0].protocol: \"\" is not a protocol"],
    ),
    (
        "  podSelector: {}\n  ingress:\n  - ports:\n    - protocol: !mine TCP",
        &["8: spec.ingress[0].ports[0].protocol: has the tag !mine; write a text"],
    ),
];

/// Whole manifests, and their errors.
const MANIFESTS: &[(&str, &[&str])] = &[
    (
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespce: x}\nspec: {}",
        &["3: metadata: namespce is not a field; did you mean namespace?"],
    ),
    (
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspecs: {}",
        &["4: : specs is not a field; did you mean spec?"],
    ),
    (
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\npodSelector: {}",
        &["4: : podSelector is not a field; the fields here are apiVersion, kind, metadata, spec"],
    ),
    (
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {}\nspec: {}",
        &["2: metadata.name: is missing"],
    ),
    (
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: 7}\nspec: {}",
        &["3: metadata.name: 7 is no text to YAML; write \"7\""],
    ),
    (
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: Shop}\nspec: {}",
        &["3: metadata.namespace: \"Shop\" is not a name"],
    ),
    (
        "apiVersion: extensions/v1beta1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec: {}",
        &[
            "1: apiVersion: is \"extensions/v1beta1\"; weft reads NetworkPolicy objects of networking.k8s.io/v1",
        ],
    ),
    (
        "kind: NetworkPolicy\nmetadata: {name: p}\nspec: {}",
        &["1: apiVersion: is \"\"; weft reads NetworkPolicy objects of networking.k8s.io/v1"],
    ),
    (
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolcy\nmetadata: {name: p}\nspec: {}",
        &["2: kind: \"NetworkPolcy\" is not a kind weft reads; did you mean NetworkPolicy?"],
    ),
    (
        "apiVersion: networking.k8s.io/v1\nkind: networkpolicy\nmetadata: {name: p}\nspec: {}",
        &["2: kind: \"networkpolicy\" is not a kind weft reads; did you mean NetworkPolicy?"],
    ),
    (
        "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\nmetadata: {name: p}\nspec: {}",
        &[
            "2: : weft does not enforce AdminNetworkPolicy objects of policy.networking.k8s.io/v1alpha1",
        ],
    ),
    (
        "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: p}\nspec: {}",
        &["2: : weft does not enforce NetworkPolicy objects of projectcalico.org/v3"],
    ),
    (
        "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: p}",
        &["2: : weft does not enforce CiliumClusterwideNetworkPolicy objects of cilium.io/v2"],
    ),
    (
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a}\nspec: {podSelector: {}}\nkind: NetworkPolicy\nmetadata: {name: b}",
        &[
            "5: : the key \"kind\" is written twice",
            "6: : the key \"metadata\" is written twice",
        ],
    ),
    ("hello", &["1: : is no Kubernetes object"]),
    ("- kind: NetworkPolicy", &["1: : is no Kubernetes object"]),
    (
        "kind: [NetworkPolicy]",
        &["1: kind: is a list; write a text"],
    ),
    (
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n  lables: {x: y}",
        &["5: metadata: lables is not a field; did you mean labels?"],
    ),
    (
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {x: true}}",
        &["3: metadata.labels[x]: true is no text to YAML; write \"true\""],
    ),
    (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {hostnetwork: true}",
        &["4: spec: hostnetwork is not a field; did you mean hostNetwork?"],
    ),
    (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {hostNetwork: \"true\"}",
        &["4: spec.hostNetwork: is the text \"true\"; write true or false"],
    ),
    (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - ports: [{containerPort: \"80\"}]",
        &["6: spec.containers[0].ports[0].containerPort: is the text \"80\"; write a number"],
    ),
    (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - ports: [{name: web}]",
        &["6: spec.containers[0].ports[0].containerPort: is missing"],
    ),
    (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nstatus: {phase: Succeded}",
        &["4: status.phase: \"Succeded\" is not a phase; did you mean Succeeded?"],
    ),
    (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nstatus: {podIP: '::ffff:10.0.0.1'}",
        &["4: status.podIP: \"::ffff:10.0.0.1\" is not an IP address"],
    ),
    (
        "apiVersion: v1\nkind: List\nitems: {}",
        &["3: items: is a mapping; write a list"],
    ),
    (
        "apiVersion: v1\nkind: pod\nmetadata: {name: a}",
        &["2: kind: \"pod\" is not a kind weft reads; did you mean Pod?"],
    ),
];

fn compare(text: &str, expected: &[&str]) {
    let found = errors(text);
    let same = found.len() == expected.len();
    let begin = found.iter().zip(expected).all(|(f, e)| f.starts_with(e));
    assert!(
        same && begin,
        "{text}\nfound:    {found:#?}\nexpected: {expected:#?}"
    );
}

#[test]
fn a_wrong_policy_is_refused_at_its_line() {
    for (spec, expected) in SPECS {
        let text = policy(spec);
        compare(&text, expected);
        let manifest = cluster::parse(&text);
        assert!(manifest.objects.is_empty(), "{text}");
        let [broken] = manifest.broken.as_slice() else {
            panic!("{text}: {:?}", manifest.broken)
        };
        let key = broken.key.as_ref().map(ToString::to_string);
        assert_eq!(key.as_deref(), Some("NetworkPolicy shop/p"), "{text}");
        assert_eq!(broken.errors, 0..expected.len(), "{text}");
    }
}

#[test]
fn a_wrong_manifest_is_refused_at_its_line() {
    for (text, expected) in MANIFESTS {
        compare(text, expected);
    }
    assert!(SPECS.len() + MANIFESTS.len() > 120, "a table this long");
}
