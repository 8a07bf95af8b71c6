//! ADD: how does a pod get its interface?
//!
//! Namespace, addresses if another plugin gives them, daemon, result, in that order. What fails
//! takes back what the delegated plugin reserved; what the daemon did is taken back by the DEL
//! that the runtime owes.

use std::net::IpAddr;
use std::os::fd::AsFd as _;

use ipnetwork::IpNetwork;
use weft_sys::netlink::{Netlink, link};
use weft_sys::netns::Netns;

use super::ask::{ask, failed, undecided};
use super::{Limits, del};
use crate::call::{Call, Sandbox};
use crate::daemon::{self, Attach, Attached, ClientError};
use crate::deadline::Deadline;
use crate::ipam::Delegate;
use crate::namespace;
use crate::spec::{CniError, Code, Dns, Interface, IpConfig, Route, Success, Version};
use crate::wish::Wish;

/// What another plugin gave.
#[derive(Default)]
struct Given {
    ips: Vec<IpNetwork>,
    dns: Dns,
}

pub(super) fn add(
    call: &Call<'_>,
    sandbox: &Sandbox,
    limits: &Limits,
) -> Result<Success, CniError> {
    let deadline = Deadline::after(limits.add);
    let previous = previous(call)?;
    let wish = Wish::read(call)?;
    let netns = namespace::open(&sandbox.netns, call.environment)?;
    let (attached, given) = match Delegate::of(call)? {
        None => {
            let attach = attach(call, sandbox, &wish);
            let attached = request(call, attach, &netns, deadline);
            (attached.map_err(refused)?, Given::default())
        }
        Some(delegate) => {
            vacant(&sandbox.identity.ifname, &netns, &sandbox.netns)?;
            let given = given(delegate.add(deadline, limits.undo)?);
            let mut attach = attach(call, sandbox, &wish);
            attach.ips.clone_from(&given.ips);
            attach.delegated = true;
            let attached = request(call, attach, &netns, deadline).map_err(|error| {
                // The address may be another pod's in a moment, so the port must not outlive it.
                if undecided(&error) {
                    take_back(call, sandbox, limits);
                }
                delegate.undo(limits.undo);
                refused(error)
            })?;
            (attached, given)
        }
    };
    let dns = [wish.dns, given.dns];
    Ok(result(call.version, sandbox, &attached, previous, dns))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "`map_err` gives the error away"
)]
fn refused(error: ClientError) -> CniError {
    failed("attach the pod", &error)
}

/// The result of the plugins before this one, if it is not the first.
fn previous(call: &Call<'_>) -> Result<Option<Success>, CniError> {
    let json = &call.config.prev_result;
    if json.is_null() {
        return Ok(None);
    }
    let read = Success::read(json.clone()).map(Some);
    read.map_err(|error| CniError::new(Code::DECODE, "cannot read prevResult", error))
}

/// A repeated ADD of the daemon's own addresses answers the same. Another plugin would refuse a
/// second reservation, and its address be taken from the living interface when that is undone.
fn vacant(ifname: &str, netns: &Netns, path: &str) -> Result<(), CniError> {
    let look = || link::get(&mut Netlink::open_in(netns)?, ifname);
    match look() {
        Ok(None) => Ok(()),
        Ok(Some(_)) => {
            let msg = format!("an interface {ifname} exists already in {path}");
            let details = "the runtime must DEL an attachment before it ADDs it again";
            Err(CniError::new(Code::REFUSED, msg, details))
        }
        Err(error) => {
            let msg = format!("cannot look for an interface {ifname} in {path}");
            Err(CniError::new(Code::IO, msg, error))
        }
    }
}

fn given(result: Success) -> Given {
    Given {
        ips: result.ips.into_iter().map(|ip| ip.address).collect(),
        dns: result.dns.unwrap_or_default(),
    }
}

fn attach(call: &Call<'_>, sandbox: &Sandbox, wish: &Wish) -> Attach {
    Attach {
        container_id: sandbox.identity.container_id.clone(),
        ifname: sandbox.identity.ifname.clone(),
        network: call.network.clone(),
        namespace: wish.args.namespace.clone(),
        pod: wish.args.pod.clone(),
        uid: wish.args.uid.clone(),
        netns: sandbox.netns.clone(),
        ips: wish.ips.clone(),
        delegated: false,
        mac: wish.mac.clone(),
        mtu: wish.mtu,
        ports: wish.ports.clone(),
        bandwidth: wish.bandwidth,
    }
}

fn request(
    call: &Call<'_>,
    attach: Attach,
    netns: &Netns,
    deadline: Deadline,
) -> Result<Attached, ClientError> {
    ask(
        call,
        daemon::Call::Attach(attach),
        &[netns.as_fd()],
        deadline,
    )
}

fn take_back(call: &Call<'_>, sandbox: &Sandbox, limits: &Limits) {
    let deadline = Deadline::after(limits.undo);
    if let Err(error) = del::detach(call, &sandbox.identity, deadline) {
        eprintln!("weft-cni: after a failed ADD: {error}");
    }
}

/// What the runtime is told: what came before, and what the daemon made.
fn result(
    version: Version,
    sandbox: &Sandbox,
    attached: &Attached,
    previous: Option<Success>,
    dns: [Dns; 2],
) -> Success {
    let mut result = previous.unwrap_or_default();
    let index = result.interfaces.len();
    result.interfaces.push(Interface {
        name: attached.ifname.clone(),
        mac: Some(attached.mac.clone()),
        mtu: (version >= Version::V1_1_0).then_some(attached.mtu.into()),
        sandbox: Some(sandbox.netns.clone()),
        ..Interface::default()
    });
    let gateway = |ip: IpAddr| {
        let mut gateways = attached.gateways.iter().copied();
        gateways.find(|gateway| gateway.is_ipv4() == ip.is_ipv4())
    };
    result.ips.extend(attached.ips.iter().map(|ip| IpConfig {
        interface: Some(index),
        address: *ip,
        gateway: gateway(ip.ip()),
    }));
    let defaults = attached
        .default_via
        .iter()
        .map(|gateway| default_route(*gateway));
    result.routes.extend(defaults);
    if let Some(dns) = dns.into_iter().find(|dns| !dns.is_empty()) {
        result.dns = Some(dns);
    }
    result
}

fn default_route(gateway: IpAddr) -> Route {
    let everything = match gateway {
        IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    };
    let prefix = IpNetwork::new(everything, 0);
    // A prefix of length 0 exists in either family; an address alone is one of full length.
    Route::via(prefix.unwrap_or_else(|_| everything.into()), gateway)
}
