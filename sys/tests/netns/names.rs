//! Namespaces come, go, and are entered.

use std::process::{Command, Stdio};

use weft_sys::netns::Netns;
use weft_sys::process::{Signal, die_with_parent};
use weft_sys::sysctl;

use crate::support::{Namespace, privileged};

#[test]
fn a_name_is_made_once_and_deleted_any_number_of_times() {
    if !privileged("a_name_is_made_once_and_deleted_any_number_of_times") {
        return;
    }
    let namespace = Namespace::new();
    let name = namespace.name.clone();
    assert!(Netns::exists(&name));
    assert!(Netns::list("weft.systest.").unwrap().contains(&name));
    assert!(Netns::create(&name).unwrap_err().is_exists());
    let by_name = Netns::open(&name).unwrap().id().unwrap();
    let by_path = Netns::open(format!("/run/netns/{name}"))
        .unwrap()
        .id()
        .unwrap();
    assert_eq!(by_name, by_path);
    assert_eq!(by_name, namespace.netns.id().unwrap());
    assert!(Netns::delete(&name).unwrap());
    assert!(!Netns::delete(&name).unwrap());
    assert!(!Netns::exists(&name));
    assert!(Netns::open(&name).unwrap_err().is_not_found());
}

#[test]
fn a_closure_runs_inside_and_the_caller_stays_outside() {
    if !privileged("a_closure_runs_inside_and_the_caller_stays_outside") {
        return;
    }
    let namespace = Namespace::new();
    let outside = Netns::current().unwrap().id().unwrap();
    let inside = namespace.run(|| Netns::current().unwrap().id().unwrap());
    assert_eq!(inside, namespace.netns.id().unwrap());
    assert_ne!(inside, outside);
    assert_eq!(Netns::current().unwrap().id().unwrap(), outside);
    let panicked = std::panic::catch_unwind(|| namespace.run(|| panic!("inside")));
    assert!(panicked.is_err(), "a panic inside reaches the caller");
}

#[test]
fn an_anonymous_namespace_has_no_name() {
    if !privileged("an_anonymous_namespace_has_no_name") {
        return;
    }
    let netns = Netns::anonymous().unwrap();
    assert_ne!(netns.id().unwrap(), Netns::current().unwrap().id().unwrap());
    let knob = netns.run(|| {
        sysctl::set("net/ipv4/ip_forward", "1").unwrap();
        sysctl::get("net/ipv4/ip_forward").unwrap()
    });
    assert_eq!(knob.unwrap(), "1");
    let other = Netns::anonymous().unwrap();
    let knob = other.run(|| sysctl::ensure("net/ipv4/ip_forward", "0").unwrap());
    assert!(!knob.unwrap(), "knobs belong to one namespace");
}

#[test]
fn a_child_starts_inside_and_stays_tied_to_its_parent() {
    if !privileged("a_child_starts_inside_and_stays_tied_to_its_parent") {
        return;
    }
    let namespace = Namespace::new();
    let mut command = Command::new("stat");
    command
        .args(["-L", "-c", "%i", "/proc/self/ns/net"])
        .stdout(Stdio::piped());
    die_with_parent(&mut command, Signal::Kill);
    let child = namespace.netns.spawn(command).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let inode = namespace.netns.id().unwrap().inode;
    assert_eq!(
        String::from_utf8(output.stdout).unwrap().trim(),
        inode.to_string()
    );
}
