use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tar::{EntryType, Header};

use super::{Assembly, Compression, tar_length, unpack};
use crate::image::testing::{Tar, names};
use crate::image::{Digest, Error};

/// A directory with a canary beside the one that is unpacked into.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("tmp")).unwrap();
        fs::create_dir(directory.path().join("outside")).unwrap();
        fs::write(directory.path().join("outside/canary"), b"alive").unwrap();
        Place { directory }
    }

    fn unpack(&self, tar: &[u8]) -> Result<PathBuf, Error> {
        let unpacked = unpack(
            &mut &tar[..],
            Compression::None,
            &self.directory.path().join("tmp"),
            "test",
        )?;
        assert_eq!(unpacked.digest, Digest::of(tar));
        let place = self.directory.path().join("layer");
        let skeleton = self.directory.path().join("skeleton");
        unpacked.layer.move_to(&place, &skeleton)?;
        // Whatever it is, its stream comes back byte for byte.
        assert_eq!(tar_length(&skeleton).unwrap(), tar.len() as u64);
        let mut again = Vec::new();
        let assembled = Assembly::open(&place, &skeleton)
            .and_then(|mut assembly| assembly.read_to_end(&mut again));
        assert_eq!(assembled.unwrap(), tar.len());
        assert!(again == tar);
        Ok(place)
    }

    fn assert_canary(&self) {
        assert_eq!(names(&self.directory.path().join("outside")), ["canary"]);
        assert_eq!(
            fs::read(self.directory.path().join("outside/canary")).unwrap(),
            b"alive"
        );
        assert_eq!(
            fs::metadata(self.directory.path().join("outside/canary"))
                .unwrap()
                .nlink(),
            1
        );
        assert_eq!(
            names(&self.directory.path().join("tmp")),
            Vec::<String>::new()
        );
    }
}

#[track_caller]
fn assert_unsafe(tar: Tar, entry: &str, reason: &str) {
    let place = Place::new();
    match place.unpack(&tar.done()) {
        Err(Error::UnsafeEntry {
            entry: named,
            reason: given,
            ..
        }) => {
            assert_eq!(named, entry);
            assert!(given.contains(reason), "{given}");
        }
        other => panic!("{other:?}"),
    }
    place.assert_canary();
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = Vec::with_capacity(256);
    rustix::fs::lgetxattr(path, name, rustix::buffer::spare_capacity(&mut value)).ok()?;
    Some(value)
}

fn is_whiteout(path: &Path) -> bool {
    let metadata = fs::symlink_metadata(path).unwrap();
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

#[test]
fn names_that_climb_are_refused() {
    for name in ["../evil", "a/../../evil", "..", "a/..", "/../evil"] {
        assert_unsafe(Tar::default().file(name, b"x"), name, "climbs out");
    }
    assert_unsafe(
        Tar::default()
            .pax(&[("path", b"a/../../../evil")])
            .file("x", b"x"),
        "a/../../../evil",
        "climbs out",
    );
    assert_unsafe(
        Tar::default()
            .raw(EntryType::GNULongName, "././@LongLink", "", 0, b"../evil\0")
            .file("x", b"x"),
        "../evil",
        "climbs out",
    );
}

#[test]
fn absolute_names_stay_in_the_layer() {
    let place = Place::new();
    let layer = place
        .unpack(&Tar::default().file("/etc/wherry-test", b"x").done())
        .unwrap();
    assert_eq!(fs::read(layer.join("etc/wherry-test")).unwrap(), b"x");
    assert!(!Path::new("/etc/wherry-test").exists());
}

#[test]
fn a_link_to_the_outside_is_not_followed() {
    assert_unsafe(
        Tar::default()
            .symlink("x", "../../outside")
            .file("x/evil", b"x"),
        "x/evil",
        "symbolic link",
    );
    assert_unsafe(
        Tar::default()
            .symlink("x", "..")
            .symlink("y", "x/../..")
            .file("y/evil", b"x"),
        "y/evil",
        "symbolic link",
    );
    assert_unsafe(
        Tar::default().symlink("x", "x").file("x/evil", b"x"),
        "x/evil",
        "too many",
    );
    // A file of the link's name replaces the link.
    let place = Place::new();
    let layer = place
        .unpack(
            &Tar::default()
                .symlink("x", "../../outside/canary")
                .file("x", b"new")
                .done(),
        )
        .unwrap();
    assert_eq!(fs::read(layer.join("x")).unwrap(), b"new");
    assert!(fs::symlink_metadata(layer.join("x")).unwrap().is_file());
    place.assert_canary();
}

#[test]
fn an_absolute_link_is_taken_within_the_layer() {
    let place = Place::new();
    let outside = place.directory.path().join("outside");
    let tar = Tar::default()
        .symlink("x", outside.to_str().unwrap())
        .file("x/evil", b"x")
        .symlink("run", "/r")
        .file("run/a", b"1");
    let layer = place.unpack(&tar.done()).unwrap();
    place.assert_canary();
    assert!(
        layer
            .join(outside.strip_prefix("/").unwrap())
            .join("evil")
            .exists()
    );
    assert_eq!(fs::read(layer.join("r/a")).unwrap(), b"1");
}

#[test]
fn metadata_through_a_link_does_not_reach_outside() {
    let place = Place::new();
    let before = fs::metadata(place.directory.path().join("outside")).unwrap();
    let outside = place.directory.path().join("outside");
    let tar = Tar::default()
        .symlink("d", outside.to_str().unwrap())
        .raw(EntryType::Directory, "d", "", 0o777, b"")
        .symlink("f", outside.join("canary").to_str().unwrap())
        .pax(&[("SCHILY.xattr.user.evil", b"1")])
        .symlink("f", outside.join("canary").to_str().unwrap());
    let layer = place.unpack(&tar.done()).unwrap();
    assert!(fs::symlink_metadata(layer.join("d")).unwrap().is_dir());
    let after = fs::metadata(place.directory.path().join("outside")).unwrap();
    assert_eq!(
        (before.mode(), before.mtime()),
        (after.mode(), after.mtime())
    );
    assert_eq!(xattr(&outside.join("canary"), "user.evil"), None);
    place.assert_canary();
}

#[test]
fn hard_links_stay_in_the_layer() {
    assert_unsafe(
        Tar::default().hard_link("x", "../../outside/canary"),
        "x",
        "climbs out",
    );
    assert_unsafe(
        Tar::default()
            .symlink("d", "../../outside")
            .hard_link("x", "d/canary"),
        "x",
        "symbolic link",
    );
    assert_unsafe(
        Tar::default().hard_link("x", "nowhere"),
        "x",
        "not in its layer",
    );
    assert_unsafe(
        Tar::default().dir("d").hard_link("x", "d"),
        "x",
        "to a directory",
    );
    assert_unsafe(Tar::default().hard_link("x", "/"), "x", "root directory");
    // A link to a symbolic link links the link itself, not what it points to.
    let place = Place::new();
    let layer = place
        .unpack(
            &Tar::default()
                .symlink("s", "../../outside/canary")
                .hard_link("x", "s")
                .done(),
        )
        .unwrap();
    assert!(fs::symlink_metadata(layer.join("x")).unwrap().is_symlink());
    place.assert_canary();
}

#[test]
fn attributes_of_overlayfs_are_refused() {
    for name in [
        "trusted.overlay.redirect",
        "trusted.overlay.opaque",
        "trusted.overlay.metacopy",
    ] {
        let key = format!("SCHILY.xattr.{name}");
        assert_unsafe(
            Tar::default().pax(&[(&key, b"y")]).dir("d"),
            "d",
            "overlayfs",
        );
        assert_unsafe(
            Tar::default().pax(&[(&key, b"y")]).file("f", b""),
            "f",
            "overlayfs",
        );
    }
}

#[test]
fn whiteouts_of_no_file_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", "d/.wh..."] {
        assert_unsafe(Tar::default().file(name, b""), name, "whiteout of no file");
    }
    assert_unsafe(Tar::default().file("", b""), "", "root directory");
    assert_unsafe(
        Tar::default().file("f", b"").file("f/x", b""),
        "f/x",
        "directory",
    );
    let deep = "d/".repeat(300);
    assert_unsafe(
        Tar::default()
            .pax(&[("path", deep.as_bytes())])
            .file("x", b""),
        &deep,
        "too deep",
    );
}

#[test]
fn whiteouts_become_those_of_overlayfs() {
    let place = Place::new();
    let tar = Tar::default()
        .dir("a/")
        .file("a/.wh.gone", b"")
        .dir("b/")
        .file("b/.wh..wh..opq", b"")
        .file("b/kept", b"1")
        .file(".wh..wh.plnk", b"")
        // The same name whited out and made anew, in both orders.
        .file("file", b"1")
        .file(".wh.file", b"")
        .file(".wh.file2", b"")
        .file("file2", b"2")
        .file(".wh.dir", b"")
        .dir("dir/")
        .dir("dir2/")
        .file(".wh.dir2", b"")
        .file(".wh.implied", b"")
        .file("implied/x", b"");
    let layer = place.unpack(&tar.done()).unwrap();
    assert!(is_whiteout(&layer.join("a/gone")));
    assert_eq!(
        names(&layer),
        ["a", "b", "dir", "dir2", "file", "file2", "implied"]
    );
    for opaque in ["b", "dir", "dir2", "implied"] {
        assert_eq!(
            xattr(&layer.join(opaque), "trusted.overlay.opaque").as_deref(),
            Some(&b"y"[..]),
            "{opaque}"
        );
    }
    assert_eq!(fs::read(layer.join("file")).unwrap(), b"1");
    assert_eq!(fs::read(layer.join("file2")).unwrap(), b"2");
    assert_eq!(names(&layer.join("b")), ["kept"]);
}

#[test]
fn all_kinds_of_files_keep_their_metadata() {
    let place = Place::new();
    let mut device = Header::new_ustar();
    device.set_path("null").unwrap();
    device.set_entry_type(EntryType::Char);
    device.set_mode(0o666);
    device.set_uid(1);
    device.set_gid(2);
    device.set_mtime(5);
    device.set_size(0);
    device.set_device_major(1).unwrap();
    device.set_device_minor(3).unwrap();
    // cap_net_raw+ep, as VFS_CAP_REVISION_2 has it.
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let long = format!("long/{}", "n".repeat(200));
    let tar = Tar::default()
        .pax(&[
            ("mtime", b"1600000000.123456789"),
            ("uid", b"100000"),
            ("gid", b"3000000"),
        ])
        .raw(EntryType::Directory, "d/", "", 0o3775, b"")
        .pax(&[
            ("SCHILY.xattr.security.capability", &capability),
            ("SCHILY.xattr.user.note", b"a\nb"),
            ("mtime", b"-1.5"),
        ])
        .raw(EntryType::Regular, "d/ping", "", 0o4755, b"elf")
        .hard_link("d/ping2", "d/ping")
        .pax(&[("path", long.as_bytes()), ("mtime", b"1600000000.5")])
        .file("short", b"long")
        .header(device, b"")
        .raw(EntryType::Fifo, "pipe", "", 0o600, b"")
        .symlink("link", "/nowhere")
        .raw(EntryType::Directory, "./", "", 0o711, b"");
    let layer = place.unpack(&tar.done()).unwrap();
    let read = |name: &str| fs::symlink_metadata(layer.join(name)).unwrap();
    let d = read("d");
    assert_eq!(
        (d.mode() & 0o7777, d.uid(), d.gid()),
        (0o3775, 100_000, 3_000_000)
    );
    assert_eq!((d.mtime(), d.mtime_nsec()), (1_600_000_000, 123_456_789));
    let ping = read("d/ping");
    assert_eq!(
        (ping.mode() & 0o7777, ping.uid(), ping.gid(), ping.nlink()),
        (0o4755, 0, 0, 2)
    );
    assert_eq!((ping.mtime(), ping.mtime_nsec()), (-2, 500_000_000));
    assert_eq!(
        xattr(&layer.join("d/ping"), "security.capability").as_deref(),
        Some(&capability[..])
    );
    assert_eq!(
        xattr(&layer.join("d/ping"), "user.note").as_deref(),
        Some(&b"a\nb"[..])
    );
    assert_eq!(fs::read(layer.join(&long)).unwrap(), b"long");
    let null = read("null");
    assert_eq!(
        (null.rdev(), null.mode(), null.uid(), null.mtime()),
        (0x103, 0o20666, 1, 5)
    );
    assert!(read("pipe").file_type().is_fifo());
    assert_eq!(
        fs::read_link(layer.join("link")).unwrap(),
        Path::new("/nowhere")
    );
    assert_eq!(read("link").mtime(), 1_700_000_000);
    assert_eq!(fs::metadata(&layer).unwrap().mode() & 0o7777, 0o711);
}

#[test]
fn the_later_of_two_entries_stays() {
    let place = Place::new();
    let tar = Tar::default()
        .dir("x/")
        .file("x/y", b"1")
        .file("x", b"2")
        .file("f", b"long content")
        .file("f", b"s")
        .file("g", b"")
        .dir("g/")
        .file("g/h", b"3")
        .dir("d/e/")
        .file("d/e/f", b"4")
        .symlink("way", "d/e")
        .file("way/f", b"5")
        .file("way/g", b"6")
        .file("d/e", b"7")
        .file("d", b"8");
    let layer = place.unpack(&tar.done()).unwrap();
    assert_eq!(fs::read(layer.join("x")).unwrap(), b"2");
    assert_eq!(fs::read(layer.join("f")).unwrap(), b"s");
    assert_eq!(fs::read(layer.join("g/h")).unwrap(), b"3");
}

#[test]
fn claims_of_size_are_not_believed() {
    for kind in [
        EntryType::XHeader,
        EntryType::GNULongName,
        EntryType::Regular,
        EntryType::XGlobalHeader,
    ] {
        for size in [1 << 33, u64::MAX >> 1, u64::MAX] {
            let mut header = Header::new_gnu();
            header.set_path("big").unwrap();
            header.set_entry_type(kind);
            header.set_mode(0);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_size(size);
            let place = Place::new();
            assert!(
                place
                    .unpack(&Tar::default().header(header, b"few").done())
                    .is_err()
            );
            place.assert_canary();
        }
    }
}

#[test]
fn numbers_left_blank_are_zero() {
    for blank in [0, b' '] {
        let mut tar = Tar::default();
        for (name, kind) in [
            ("d/", EntryType::Directory),
            ("d/f", EntryType::Regular),
            ("d/s", EntryType::Symlink),
            ("d/c", EntryType::Char),
        ] {
            let mut header = Header::new_gnu();
            header.set_path(name).unwrap();
            header.set_link_name("f").unwrap();
            header.set_entry_type(kind);
            // Mode, owners, size and time; then the device's numbers.
            header.as_mut_bytes()[100..148].fill(blank);
            header.as_mut_bytes()[329..345].fill(blank);
            tar = tar.header(header, b"");
        }
        let place = Place::new();
        let layer = place.unpack(&tar.file("after", b"1").done()).unwrap();
        for name in ["d", "d/f", "d/s", "d/c"] {
            let read = fs::symlink_metadata(layer.join(name)).unwrap();
            assert_eq!((read.uid(), read.gid(), read.mtime()), (0, 0, 0), "{name}");
        }
        assert_eq!(fs::read(layer.join("d/f")).unwrap(), b"");
        assert_eq!(fs::read(layer.join("after")).unwrap(), b"1");
    }
    // Anything else that is no number still is none.
    let mut header = Header::new_gnu();
    header.set_path("f").unwrap();
    header.as_mut_bytes()[100..148].fill(0);
    header.as_mut_bytes()[108..116].copy_from_slice(b"  x\0\0\0\0\0");
    let place = Place::new();
    assert!(
        place
            .unpack(&Tar::default().header(header, b"").done())
            .is_err()
    );
}

#[test]
fn owners_that_mean_no_change_are_refused() {
    for record in [
        ("uid", &b"4294967295"[..]),
        ("gid", b"4294967296"),
        ("uid", b"-1"),
        ("uid", b"x"),
        ("mtime", b"x"),
        ("size", b"x"),
    ] {
        let place = Place::new();
        assert!(
            place
                .unpack(&Tar::default().pax(&[record]).file("f", b"").done())
                .is_err(),
            "{record:?}"
        );
        place.assert_canary();
    }
}

/// Unpacks what GNU tar packed and compares by GNU tar.
fn assert_as_tar(arguments: &[&str], make: fn(&Path)) {
    let source = tempfile::tempdir().unwrap();
    make(source.path());
    let packed = std::process::Command::new("tar")
        .arg("-C")
        .arg(source.path())
        .args(arguments)
        .args(["-c", "."])
        .output()
        .unwrap();
    assert!(packed.status.success());
    let layer_place = Place::new();
    let layer = layer_place.unpack(&packed.stdout).unwrap();
    for name in names(source.path()) {
        assert_eq!(
            fs::read(layer.join(&name)).unwrap(),
            fs::read(source.path().join(&name)).unwrap(),
            "{name}"
        );
        assert!(
            fs::metadata(layer.join(&name)).unwrap().blocks() <= 200,
            "{name} lost its holes"
        );
    }
}

#[test]
fn sparse_files_keep_their_holes() {
    fn make(directory: &Path) {
        use std::os::unix::fs::FileExt;
        for (name, parts) in [("few", 2u64), ("many", 12)] {
            let file = fs::File::create(directory.join(name)).unwrap();
            for part in 0..parts {
                file.write_all_at(b"data", part * 300_000).unwrap();
            }
            file.set_len(5_000_000).unwrap();
        }
    }
    assert_as_tar(&["-S", "--format=gnu"], make);
    assert_as_tar(&["-S", "--format=posix", "--sparse-version=1.0"], make);
    assert_as_tar(&["-S", "--format=posix", "--sparse-version=0.1"], make);
}

#[derive(Clone, Debug)]
enum Node {
    File(Vec<u8>, u32),
    Link(String),
    Directory(std::collections::BTreeMap<String, Node>, u32),
}

fn node() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        (prop::collection::vec(any::<u8>(), 0..3000), 0u32..0o10000)
            .prop_map(|(content, mode)| Node::File(content, mode)),
        "[a-z./]{1,120}".prop_map(Node::Link),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        (
            prop::collection::btree_map("[a-zA-Z0-9 é_-]{1,60}", inner, 0..6),
            0u32..0o10000,
        )
            .prop_map(|(children, mode)| Node::Directory(children, mode))
    })
}

fn pack(builder: &mut tar::Builder<Vec<u8>>, path: &Path, node: &Node) {
    let mut header = Header::new_gnu();
    header.set_uid(7);
    header.set_gid(8);
    header.set_mtime(1_500_000_000);
    header.set_size(0);
    match node {
        Node::File(content, mode) => {
            header.set_mode(*mode);
            header.set_size(content.len() as u64);
            builder
                .append_data(&mut header, path, content.as_slice())
                .unwrap();
        }
        Node::Link(target) => {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            builder.append_link(&mut header, path, target).unwrap();
        }
        Node::Directory(children, mode) => {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(*mode);
            builder
                .append_data(&mut header, path, std::io::empty())
                .unwrap();
            for (name, child) in children {
                pack(builder, &path.join(name), child);
            }
        }
    }
}

fn assert_equal(path: &Path, node: &Node) {
    let metadata = fs::symlink_metadata(path).unwrap();
    assert_eq!(
        (metadata.uid(), metadata.gid(), metadata.mtime()),
        (7, 8, 1_500_000_000)
    );
    match node {
        Node::File(content, mode) => {
            assert_eq!(&fs::read(path).unwrap(), content);
            assert_eq!(metadata.mode() & 0o7777, *mode);
        }
        Node::Link(target) => assert_eq!(fs::read_link(path).unwrap(), Path::new(target)),
        Node::Directory(children, mode) => {
            assert_eq!(metadata.mode() & 0o7777, *mode);
            assert_eq!(names(path), children.keys().cloned().collect::<Vec<_>>());
            for (name, child) in children {
                assert_equal(&path.join(name), child);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_packed_unpacks_the_same(children in prop::collection::btree_map("[a-z]{1,8}", node(), 0..6)) {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, node) in &children {
            pack(&mut builder, Path::new(name), node);
        }
        let place = Place::new();
        let layer = place.unpack(&builder.into_inner().unwrap()).unwrap();
        prop_assert_eq!(names(&layer), children.keys().cloned().collect::<Vec<_>>());
        for (name, node) in &children {
            assert_equal(&layer.join(name), node);
        }
    }

    #[test]
    fn random_entries_never_escape(entries in prop::collection::vec((0u8..8, "(\\.\\./|/)?[ab](/[ab]|/\\.\\.|/\\.wh\\.[ab.]?|){0,2}", "(\\.\\./|/){0,3}([ab]|outside)(/[ab]|/canary|/\\.\\.){0,2}"), 0..12)) {
        let mut tar = Tar::default();
        for (kind, name, link) in &entries {
            let kind = [EntryType::Regular, EntryType::Directory, EntryType::Symlink, EntryType::Symlink, EntryType::Link, EntryType::Char, EntryType::Fifo, EntryType::Regular][usize::from(*kind)];
            let content: &[u8] = if kind == EntryType::Regular { b"evil" } else { b"" };
            // From the layer's directory, ../../outside is the canary's.
            let link = link.replace("outside", "../../../outside");
            tar = tar.raw(kind, name, &link, 0o777, content);
        }
        let place = Place::new();
        let _ = place.unpack(&tar.done());
        place.assert_canary();
    }
}
