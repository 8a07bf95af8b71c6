//! What an installation does not touch, follow or believe.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::fs::{Gid, Uid};

use crate::common::{command, command_of, privileged};
use crate::rig::{FOREIGN, LIMIT, LIST, Node, chmod, pairs, refused};

#[test]
fn links_in_the_place_of_files_are_not_followed() {
    let node = Node::new();
    node.directories();
    let victim = node.path("victim");
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, node.path("net.d").join(format!(".{LIST}.tmp"))).unwrap();
    fs::write(node.path("bin").join(".weft-cni.tmp"), "half").unwrap();
    node.install();
    assert_eq!(node.files().len(), 3);
    fs::remove_file(node.list()).unwrap();
    symlink(&victim, node.list()).unwrap();
    refused(&node.run("install", &[]), 2, &["is no file"]);
    node.run("install", &["--force"]).ok();
    assert!(fs::symlink_metadata(node.list()).unwrap().is_file());
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn a_directory_others_can_change_is_refused_before_anything_is_written() {
    for (name, bits) in [
        ("net.d", 0o757),
        ("net.d", 0o1777),
        ("bin", 0o775),
        ("bin", 0o2770),
    ] {
        let node = Node::new();
        node.directories();
        chmod(&node.path(name), bits);
        let path = node.path(name);
        let mode = format!("(mode {bits:04o})");
        refused(
            &node.run("install", &[]),
            2,
            &[path.to_str().unwrap(), &mode, "chmod go-w"],
        );
        assert_eq!(node.files(), []);
        let status = node.run("status", &[]);
        assert_eq!(status.code, Some(1), "{status}");
        assert!(status.stdout.contains(&mode), "{status}");
    }
    // By a link, and by a directory on the way there.
    let node = Node::new();
    node.directories();
    fs::create_dir_all(node.path("open/net.d")).unwrap();
    chmod(&node.path("open"), 0o777);
    fs::remove_dir(node.path("net.d")).unwrap();
    symlink("open/net.d", node.path("net.d")).unwrap();
    refused(
        &node.run("install", &[]),
        2,
        &["/open may be written to", "(mode 0777)"],
    );
    fs::remove_file(node.path("net.d")).unwrap();
    symlink(node.path("net.d"), node.path("net.d")).unwrap();
    refused(&node.run("install", &[]), 2, &["too many symbolic links"]);
    assert_eq!(node.files(), []);
    // A link to a good directory, through one in a good directory, is good.
    fs::remove_file(node.path("net.d")).unwrap();
    chmod(&node.path("open"), 0o755);
    symlink("link", node.path("net.d")).unwrap();
    symlink(
        "../".to_owned() + node.root.path().file_name().unwrap().to_str().unwrap() + "/open/net.d",
        node.path("link"),
    )
    .unwrap();
    node.install();
    assert!(node.path("open/net.d").join(LIST).is_file());
    // A file in a directory's place.
    let node = Node::new();
    fs::write(node.path("bin"), "").unwrap();
    refused(&node.run("install", &[]), 2, &["/bin: not a directory"]);
}

#[test]
fn a_directory_or_link_of_another_user_is_refused() {
    if !privileged("a directory of another user is refused") {
        return;
    }
    let nobody = (Some(Uid::from_raw(65534)), Some(Gid::from_raw(65534)));
    let node = Node::new();
    node.directories();
    rustix::fs::chown(node.path("bin"), nobody.0, nobody.1).unwrap();
    refused(
        &node.run("install", &[]),
        2,
        &["/bin belongs to user 65534, not to root", "chown"],
    );
    assert_eq!(node.files(), []);
    let node = Node::new();
    node.directories();
    symlink(node.path("bin"), node.path("plugins")).unwrap();
    std::os::unix::fs::lchown(node.path("plugins"), Some(65534), Some(65534)).unwrap();
    let plugins = node.path("plugins").display().to_string();
    let outcome = node.run("install", &["--bin-dir", &plugins]);
    assert_eq!(outcome.code, Some(2), "one --bin-dir only: {outcome}");
    let mut weft = command_of(node.weft.path().join("weft"));
    weft.args(["cni", "install", "--bin-dir", &plugins, "--conf-dir"])
        .arg(node.path("net.d"));
    refused(
        &command::run(&mut weft, LIMIT),
        2,
        &["/plugins belongs to user 65534"],
    );
    assert_eq!(node.files(), []);
}

#[test]
fn what_others_made_stays() {
    let node = Node::new();
    node.directories();
    fs::write(node.program("loopback"), FOREIGN).unwrap();
    let expected = [
        ("plugin", "installed"),
        ("loopback", "kept"),
        ("conflist", "installed"),
    ];
    assert_eq!(node.outcomes("install", &[]), pairs(&expected));
    assert_eq!(fs::read(node.program("loopback")).unwrap(), FOREIGN);

    let taken = [
        (node.program("weft-cni"), FOREIGN, "is not weft's program"),
        (
            node.list(),
            b"{\"plugins\":[{\"type\":\"other\"}]}",
            "is not weft's list",
        ),
        (
            node.list(),
            b"{\"plugins\":[{\"type\":\"weft-cni\",\"ipam\":{\"type\":\"host-local\"}}]}",
            "was changed by hand",
        ),
        (
            node.list(),
            b"{\"plugins\":[{\"type\":\"weft-cni\"},{\"type\":\"tuning\"}]}",
            "was changed by hand",
        ),
    ];
    for (path, bytes, why) in taken {
        fs::write(&path, bytes).unwrap();
        let files = node.files();
        let outcome = node.run("install", &["--mtu", "1400"]);
        refused(&outcome, 2, &[path.to_str().unwrap(), why, "--force"]);
        assert_eq!(node.files(), files, "nothing is half installed");
        node.run("install", &["--force"]).ok();
        assert_ne!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn wrong_arguments_are_told() {
    let node = Node::new();
    let wrong: [(&[&str], &str); 10] = [
        (&["--conf-name", "../x.conflist"], "conflist"),
        (&["--conf-name", "10-weft.conf"], ".conflist"),
        (&["--conf-name", ".conflist"], ".conflist"),
        (&["--name", "a/b"], "letters, digits"),
        (&["--name", ""], "letters, digits"),
        (&["--mtu", "100"], "576"),
        (&["--mtu", "70000"], "70000"),
        (&["--timeout", "x"], "--timeout"),
        (&["-o", "xml"], "xml"),
        (&["extra"], "extra"),
    ];
    for (arguments, word) in wrong {
        refused(&node.run("install", arguments), 2, &[word]);
    }
    for option in ["--socket", "--state-dir"] {
        let mut weft = command_of(node.weft.path().join("weft"));
        weft.args(["cni", "install", "--dry-run", option, "relative"]);
        refused(&command::run(&mut weft, LIMIT), 2, &["absolute path"]);
    }
    assert!(!node.path("net.d").exists() && !node.path("bin").exists());
}
