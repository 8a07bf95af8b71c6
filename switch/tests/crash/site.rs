//! A node with a small range, one pod that is there all the time, and the question whether all is
//! as it should be.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;

use weft_switch::api::{Attach, Attached, Check, ClientError, Gc, PortMapping, PortProtocol};
use weft_sys::nft::NatTable;

use super::rig::{Node, Pod, Space, identity, request};
use super::soon;

/// How many pods the range has addresses for: a /29 without its first two and its last.
const ROOM: usize = 5;
/// The pod that is there all the time.
pub(crate) const WITNESS: &str = "witness";

pub(crate) struct Site {
    pub(crate) node: Node,
    witness: Pod,
    /// Rules and elements of the node's nftables table with the witness alone.
    rules: (usize, usize),
    /// The network namespaces of pods that come and go.
    spaces: Vec<Space>,
}

/// What a site is found to be unlike.
pub(crate) type Differences = Vec<String>;

impl Site {
    pub(crate) fn new() -> Self {
        let mut node = Node::new();
        node.configure("workers = 1\n[ipam]\ncool_down_seconds = 0");
        let file = node.path("weft.toml");
        let text = fs::read_to_string(&file).unwrap();
        let text = text.replace(".0/24", ".0/29").replace("::/64", "::/125");
        fs::write(&file, text).unwrap();
        node.start(&[]);
        let space = Space::new();
        let attached = attach(&node, WITNESS, &space).unwrap();
        let witness = Pod { space, attached };
        let rules = rules(&node);
        let spaces = (1..ROOM).map(|_| Space::new()).collect();
        Self {
            node,
            witness,
            rules,
            spaces,
        }
    }

    /// Gives a pod with a host port its interface.
    pub(crate) fn attach(&self, name: &str, space: &Space) -> Result<Attached, ClientError> {
        attach(&self.node, name, space)
    }

    /// Of the pods, only the witness and these may stay.
    pub(crate) fn collect(&self, valid: &[&str]) -> Result<(), ClientError> {
        let valid = valid.iter().copied().chain([WITNESS]);
        let valid = valid.map(identity).collect();
        let network = String::new();
        self.node.connect()?.gc(Gc { network, valid })?;
        Ok(())
    }

    /// Whether a pod has a port.
    pub(crate) fn has_port(&self, name: &str) -> bool {
        let (id, ports) = (identity(name).container_id, self.node.client().ports());
        ports.unwrap().iter().any(|port| port.container_id == id)
    }

    /// What is not as it should be when the witness and `present` are attached, and nothing is
    /// in the namespaces of `absent`.
    pub(crate) fn differences(
        &self,
        present: &[(&str, &Space, &Attached)],
        absent: &[&Space],
    ) -> Differences {
        let mut found = Differences::new();
        let mut expect = |is: bool, what: &str| {
            if !is {
                found.push(what.to_owned());
            }
        };
        let witness = (WITNESS, &self.witness.space, &self.witness.attached);
        let pods = || present.iter().chain([&witness]);
        let ports = self.node.client().ports().unwrap();
        let named: BTreeSet<_> = ports.iter().map(|port| port.container_id.clone()).collect();
        let mut names: BTreeSet<_> = pods().map(|pod| identity(pod.0).container_id).collect();
        names.insert(String::new());
        expect(named == names, &format!("ports: {named:?}"));
        let addresses: Vec<_> = ports.iter().flat_map(|port| &port.addresses).collect();
        let distinct: BTreeSet<_> = addresses.iter().collect();
        expect(
            distinct.len() == addresses.len(),
            "an address has two ports",
        );
        for (name, space, attached) in pods() {
            expect(space.links() == ["eth0"], &format!("{name} has no eth0"));
            let checked = self.check(name, space, attached);
            expect(checked.is_ok(), &format!("CHECK of {name}: {checked:?}"));
            let pings = |ip: IpAddr| self.node.space.pings(&ip.to_string());
            let answers = attached.ips.iter().all(|ip| pings(ip.ip()));
            expect(answers, &format!("{name} does not answer"));
        }
        let empty = |space: &&Space| space.links().is_empty();
        expect(
            soon(|| absent.iter().all(empty)),
            "an interface is left in a pod's namespace",
        );
        let own = BTreeSet::from(["u0".to_owned(), "weft0".to_owned()]);
        let links: BTreeSet<_> = self.node.space.links().into_iter().collect();
        expect(links == own, &format!("the node's interfaces: {links:?}"));
        let (rules, elements) = (rules(&self.node), self.rules);
        let each = present.len();
        let as_many = rules.0 == elements.0 && (rules.1 > elements.1) == (each > 0);
        expect(as_many, &format!("nftables: {rules:?}, was {elements:?}"));
        found.extend(self.foreign_files());
        found
    }

    fn check(&self, name: &str, space: &Space, attached: &Attached) -> Result<(), ClientError> {
        let identity = identity(name);
        let check = Check {
            container_id: identity.container_id,
            ifname: identity.ifname,
            ips: attached.ips.clone(),
            mac: Some(attached.mac.clone()),
            mtu: Some(attached.mtu),
        };
        self.node.client().check(check, &space.0).map(|_| ())
    }

    /// Files that nobody should have left.
    fn foreign_files(&self) -> Differences {
        let state = self.node.path("state");
        let names = |folder| -> Vec<String> {
            let entries = fs::read_dir(folder).unwrap().flatten();
            let names = entries.map(|entry| entry.file_name().into_string().unwrap());
            names.collect()
        };
        let mut files = names(state.clone());
        files.extend(names(state.join("deleted")));
        files.extend(names(state.parent().unwrap().to_owned()));
        let known = [
            "attachments.journal",
            "attachments.lock",
            "deleted",
            "cluster.d",
            "connections",
            "state",
            "trace",
            "weft.sock",
            "weft.toml",
        ];
        files.retain(|name| !known.contains(&name.as_str()));
        files.iter().map(|name| format!("file {name}")).collect()
    }

    /// Uses the range up and gives it back: the pods that have ports leave room for so many and no
    /// more, none of whose addresses is another's.
    pub(crate) fn fill(&self) -> Differences {
        let mut found = Differences::new();
        let mut pods = self.node.client().ports().unwrap();
        pods.retain(|port| port.kind == "pod");
        let room = ROOM - pods.len();
        let mut given: Vec<IpAddr> = pods.into_iter().flat_map(|pod| pod.addresses).collect();
        let mut names = Vec::new();
        for (number, space) in self.spaces.iter().enumerate() {
            let name = format!("filler-{number}");
            match self.node.attach(&name, &[], space) {
                Ok(attached) => {
                    given.extend(attached.ips.iter().map(|ip| ip.ip()));
                    names.push(name);
                }
                Err(error) if error.to_string().contains("has no free address") => break,
                Err(error) => found.push(format!("filling the range: {error}")),
            }
        }
        if names.len() != room {
            found.push(format!("{} of {room} addresses are free", names.len()));
        }
        let distinct: BTreeSet<_> = given.iter().collect();
        if distinct.len() != given.len() {
            found.push(format!("an address is given twice: {given:?}"));
        }
        for name in names {
            self.node.detach(&name);
        }
        found
    }
}

/// Rules and elements of the node's nftables table.
fn rules(node: &Node) -> (usize, usize) {
    let fingerprint = node.space.run(|| NatTable::fingerprint("weft"));
    let fingerprint = fingerprint.unwrap().unwrap();
    (fingerprint.rules(), fingerprint.elements())
}

fn attach(node: &Node, name: &str, space: &Space) -> Result<Attached, ClientError> {
    let mut request: Attach = request(name, &[]);
    let host_port = if name == WITNESS { 8000 } else { 8001 };
    request.ports = vec![PortMapping {
        host_port,
        container_port: 80,
        protocol: PortProtocol::Tcp,
        host_ip: None,
    }];
    node.connect()?.attach(request, &space.0)
}
