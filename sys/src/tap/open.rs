//! How is a TAP device made, or a persistent one taken up again?
//!
//! Owns opening the queues of one device and naming what is in the way: another process that has
//! it, another kind of interface, another mode. What a former owner left set on the device (frame
//! format, offloads) is set anew. It never deletes a device and never ends its persistence.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::control::{self, IFF_MULTI_QUEUE, IFF_NO_PI, IFF_TAP, IFF_VNET_HDR};
use super::{MAX_QUEUES, Offloads, TapConfig, TapError, TapQueue, VNET_HEADER, plain};
use crate::error::{Context, Result, SysError};
use crate::ifreq::InterfaceRequest;
use crate::netlink::Netlink;
use crate::netlink::link::{self, Link};

/// Opens the TAP device `name` in the calling thread's namespace: a new one, or one that is there,
/// persistent and without an owner; without a name the kernel chooses one. Returns as many queues
/// as asked for, however many an earlier owner had. Addresses, routes and neighbours of a device
/// that was there are still there.
///
/// # Errors
/// [`TapError`]; inside it [`SysError::is_busy`] if the device is open already, here or in another
/// process, and [`SysError::is_exists`] if another kind of interface has that name.
pub fn open(name: Option<&str>, config: TapConfig) -> Result<Vec<TapQueue>, TapError> {
    let name = name.unwrap_or_default();
    InterfaceRequest::new(name)?;
    let fits = match config.plain {
        true => config.queues == 1 && !config.vnet,
        false => (1..=MAX_QUEUES).contains(&config.queues),
    };
    if !fits {
        let why = format!("1 to {MAX_QUEUES} queues; the plain backend has one, without vnet");
        return Err(SysError::invalid(what(name), why).into());
    }
    // Any number of processes may attach queues to one device, and the kernel deals out frames
    // among all: whether somebody has it has to be asked, before it costs them frames.
    only_holder(name, 0)?;
    let mut queues = Vec::with_capacity(config.queues);
    let mut device = name.to_owned();
    for _ in 0..config.queues {
        let queue = open_queue(&device, config)?;
        device.clone_from(&queue.name);
        queues.push(queue);
    }
    only_holder(&device, queues.len())?;
    set_offloads(&mut queues, config)?;
    if let Some(queue) = queues.first().filter(|_| config.persist) {
        queue.set_persist(true)?;
    }
    Ok(queues)
}

fn what(name: &str) -> String {
    format!("open TAP {name}")
}

fn failed(name: &str, errno: i32) -> SysError {
    SysError::new(what(name), io::Error::from_raw_os_error(errno))
}

fn find(name: &str) -> Result<Option<Link>> {
    match name {
        "" => Ok(None),
        _ => link::get(&mut Netlink::open()?, name),
    }
}

/// Refuses a multi-queue device that has more than `ours` queues.
fn only_holder(name: &str, ours: usize) -> Result<()> {
    let queues = find(name)?.and_then(|link| link.tun?.queues);
    let all = queues.map_or(0, |queues| usize::try_from(queues).unwrap_or(usize::MAX));
    match all > ours {
        true => Err(busy(failed(name, libc::EBUSY))),
        false => Ok(()),
    }
}

fn busy(error: SysError) -> SysError {
    error.with_hint("a process has it open: end that one, or wait until it has closed it")
}

fn open_queue(name: &str, config: TapConfig) -> Result<TapQueue, TapError> {
    let fd = match config.plain {
        true => plain::open(name).map_err(|error| refused(name, config, error))?,
        false => attach(name, config)?,
    };
    let queue = TapQueue::from_fd(fd)?;
    if config.vnet != queue.has_vnet() {
        // A later queue takes the format of the first one whatever it asks for.
        let error = failed(name, libc::EOPNOTSUPP).with_hint("its open queues have another format");
        return Err(TapError::NoVnetHeader(error));
    }
    if config.vnet && queue.vnet_header != VNET_HEADER {
        control::set_vnet_header(queue.as_fd(), VNET_HEADER)
            .context(|| what(name))
            .map_err(TapError::NoVnetHeader)?;
    }
    Ok(TapQueue::from_fd(queue.fd)?)
}

/// Sets the most offloads the kernel agrees to. They belong to the device and outlive a former
/// owner's queues, so also none has to be set.
fn set_offloads(queues: &mut [TapQueue], config: TapConfig) -> Result<()> {
    let Some((first, others)) = queues.split_first_mut() else {
        return Ok(());
    };
    let wanted = match config.vnet && config.offloads {
        true => &Offloads::FALLING[..],
        false => &[Offloads::NONE],
    };
    for offloads in wanted {
        match first.set_offloads(*offloads) {
            Ok(()) => break,
            Err(error) if error.errno() != Some(libc::EINVAL) || *offloads == Offloads::NONE => {
                return Err(error);
            }
            Err(_) => {}
        }
    }
    for queue in others {
        queue.offloads = first.offloads;
    }
    Ok(())
}

fn attach(name: &str, config: TapConfig) -> Result<OwnedFd, TapError> {
    let fd = control::open_clone_device()?;
    let offered = control::features(fd.as_fd()).context(|| what(name))?;
    if offered & IFF_MULTI_QUEUE == 0 {
        return Err(TapError::NoMultiQueue(failed(name, libc::EOPNOTSUPP)));
    }
    if config.vnet && offered & IFF_VNET_HDR == 0 {
        return Err(TapError::NoVnetHeader(failed(name, libc::EOPNOTSUPP)));
    }
    let vnet = if config.vnet { IFF_VNET_HDR } else { 0 };
    let wanted = IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE | vnet;
    match control::attach(fd.as_fd(), name, wanted) {
        Ok(()) => Ok(fd),
        Err(error) => Err(refused(name, config, error)),
    }
}

/// What is in the way. The kernel says EINVAL when the interface of that name is of another mode or
/// no TAP at all.
fn refused(name: &str, config: TapConfig, error: io::Error) -> TapError {
    let error = SysError::new(what(name), error);
    let found = match error.errno() {
        Some(libc::EBUSY) => return busy(error).into(),
        Some(libc::EINVAL) => find(name),
        _ => Ok(None),
    };
    match found {
        Ok(Some(link)) if !may_be_tap(&link) => {
            let kind = link.kind.as_deref().unwrap_or("hardware");
            let hint = format!("an interface of that name is there already: {kind}");
            failed(name, libc::EEXIST).with_hint(hint).into()
        }
        Ok(Some(_)) if config.plain => error
            .with_hint("it is multi-queue: delete it, or open it with the fast backend")
            .into(),
        Ok(Some(_)) => TapError::NoMultiQueue(error.with_hint("it is not multi-queue")),
        _ => error.into(),
    }
}

fn may_be_tap(link: &Link) -> bool {
    link.kind.as_deref() == Some("tun") && link.tun.is_none_or(|tun| tun.tap)
}
