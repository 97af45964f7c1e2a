//! The store as a whole: records, removal, root file systems.

use std::fs;

use super::snapshot::OverlayMount;
use super::testing::{Sandbox, Tar, TestImage, names};
use super::{Dependent, Error, ImageRecord, ImportOptions, Store, unmount_root};

fn base() -> Vec<u8> {
    Tar::default()
        .dir("etc/")
        .file("etc/one", b"1")
        .file("etc/two", b"2")
        .done()
}

fn upper() -> Vec<u8> {
    Tar::default()
        .dir("etc/")
        .file("etc/.wh.one", b"")
        .file("etc/three", b"3")
        .done()
}

fn nobody(_: &str) -> Vec<Dependent> {
    Vec::new()
}

fn web(running: bool) -> Vec<Dependent> {
    let container = "web".to_owned();
    vec![Dependent { container, running }]
}

fn running(_: &str) -> Vec<Dependent> {
    web(true)
}

fn stopped(_: &str) -> Vec<Dependent> {
    web(false)
}

#[test]
fn images_survive_a_reopen() {
    let sandbox = Sandbox::new();
    sandbox
        .load(&TestImage::new("a:1").layer(base()).docker())
        .unwrap();
    let reopened = Store::open(&sandbox.path().join("store")).unwrap();
    assert_eq!(reopened.list(), sandbox.store.list());
    let id = reopened.list()[0].id;
    for name in [
        "a:1",
        &id.to_string(),
        &id.hex(),
        &id.short(),
        &format!("sha256:{}", id.short()),
    ] {
        assert_eq!(reopened.inspect(name).unwrap().id, id, "{name}");
    }
    assert!(matches!(reopened.inspect("b"), Err(Error::NotFound(_))));
    assert!(matches!(
        reopened.inspect("B"),
        Err(Error::InvalidReference { .. })
    ));
}

#[test]
fn a_reopen_clears_what_is_half_made() {
    let sandbox = Sandbox::new();
    sandbox
        .load(&TestImage::new("a:1").layer(base()).docker())
        .unwrap();
    fs::create_dir_all(sandbox.store.temporary().join("half/made")).unwrap();
    fs::create_dir(sandbox.store.layers().join("orphan")).unwrap();
    fs::write(sandbox.path().join("store/blobs/sha256/orphan"), b"").unwrap();
    let reopened = Store::open(&sandbox.path().join("store")).unwrap();
    assert_eq!(names(&reopened.temporary()), Vec::<String>::new());
    assert_eq!(names(&reopened.layers()).len(), 1);
    assert_eq!(names(&sandbox.path().join("store/blobs/sha256")).len(), 2);
    assert_eq!(reopened.list().len(), 1);
}

#[test]
fn an_image_that_lost_a_layer_is_dropped() {
    let sandbox = Sandbox::new();
    sandbox
        .load(&TestImage::new("a:1").layer(base()).docker())
        .unwrap();
    sandbox
        .load(&TestImage::new("b:1").layer(upper()).docker())
        .unwrap();
    let lost = sandbox.store.inspect("a:1").unwrap();
    fs::remove_dir_all(sandbox.store.layer(&lost.layers[0].diff_id)).unwrap();
    let reopened = Store::open(&sandbox.path().join("store")).unwrap();
    assert_eq!(reopened.list().len(), 1);
    assert!(reopened.inspect("b:1").is_ok());
}

#[test]
fn a_damaged_catalogue_is_an_error_and_loses_nothing() {
    let sandbox = Sandbox::new();
    sandbox
        .load(&TestImage::new("a:1").layer(base()).docker())
        .unwrap();
    fs::write(sandbox.path().join("store/images/images.json"), b"{").unwrap();
    let error = Store::open(&sandbox.path().join("store")).unwrap_err();
    assert!(matches!(error, Error::Damaged(_)), "{error}");
    assert_eq!(names(&sandbox.store.layers()).len(), 1);
}

#[test]
fn a_name_moves_to_the_image_loaded_last() {
    let sandbox = Sandbox::new();
    let first = sandbox
        .load(&TestImage::new("a:1").layer(base()).docker())
        .unwrap()[0]
        .id;
    let second = sandbox
        .load(&TestImage::new("a:1").layer(upper()).docker())
        .unwrap()[0]
        .id;
    assert_eq!(sandbox.store.inspect("a:1").unwrap().id, second);
    assert_eq!(
        sandbox.store.inspect(&first.to_string()).unwrap().names,
        Vec::<String>::new()
    );
    // Loaded again, the same image keeps one record.
    sandbox
        .load(&TestImage::new("b:1").layer(upper()).docker())
        .unwrap();
    assert_eq!(sandbox.store.list().len(), 2);
    assert_eq!(sandbox.store.inspect("a:1").unwrap().names.len(), 2);
}

#[test]
fn a_removed_image_frees_its_space_and_spares_shared_layers() {
    let sandbox = Sandbox::new();
    sandbox
        .load(&TestImage::new("a:1").layer(base()).docker())
        .unwrap();
    sandbox
        .load(&TestImage::new("b:1").layer(base()).layer(upper()).docker())
        .unwrap();
    let removed = sandbox.store.remove("b:1", false, &nobody).unwrap();
    assert_eq!(removed.untagged, ["docker.io/library/b:1"]);
    assert_eq!(removed.deleted.len(), 2, "the image and its own layer");
    assert_eq!(names(&sandbox.store.layers()).len(), 1);
    sandbox.store.remove("a:1", false, &nobody).unwrap();
    sandbox.assert_untouched();
}

#[test]
fn removal_follows_dockers_rules() {
    let sandbox = Sandbox::new();
    let archive = |name: &str| TestImage::new(name).layer(base()).docker();
    sandbox.load(&archive("a:1")).unwrap();
    let id = sandbox.load(&archive("a:2")).unwrap()[0].id;
    let short = id.short();
    let conflict = |name: &str, force: bool, in_use: &dyn Fn(&str) -> Vec<Dependent>| {
        let error = sandbox.store.remove(name, force, in_use).unwrap_err();
        error.to_string().replace(&short, "ID")
    };
    assert_eq!(
        conflict(&short, false, &nobody),
        "conflict: unable to delete ID (must be forced) - image is referenced in multiple repositories"
    );
    for force in [false, true] {
        assert_eq!(
            conflict(&short, force, &running),
            "conflict: unable to delete ID (cannot be forced) - image is being used by running container web"
        );
    }
    // One of several names goes even while a container uses the image.
    let removed = sandbox.store.remove("a:2", false, &running).unwrap();
    assert_eq!((removed.untagged.len(), removed.deleted.len()), (1, 0));
    for in_use in [running, stopped] {
        assert_eq!(
            conflict("a:1", false, &in_use),
            "conflict: unable to remove repository reference \"a:1\" (must force) - container web is using its referenced image ID"
        );
    }
    assert_eq!(
        conflict(&short, false, &stopped),
        "conflict: unable to delete ID (must be forced) - image is being used by stopped container web"
    );
    // By force it loses its name, and stays below the container that runs.
    let removed = sandbox.store.remove("a:1", true, &running).unwrap();
    assert_eq!((removed.untagged.len(), removed.deleted.len()), (1, 0));
    assert_eq!(sandbox.store.list()[0].names, Vec::<String>::new());
    assert!(conflict(&short, true, &running).contains("cannot be forced"));
    let removed = sandbox.store.remove(&short, false, &nobody).unwrap();
    assert_eq!(removed.deleted.len(), 2);
    sandbox.assert_untouched();
    assert!(matches!(
        sandbox.store.remove("a:1", true, &nobody),
        Err(Error::NotFound(_))
    ));
}

#[test]
fn digests_are_names_that_go_with_the_last_of_their_repository() {
    let sandbox = Sandbox::new();
    let archive = |name: &str| TestImage::new(name).layer(base()).docker();
    let push = |record: ImageRecord, repository: &str| {
        let (manifest, _) = sandbox.store.manifest(&record).unwrap();
        let digest = super::Digest::of(&manifest);
        let canonical = format!("docker.io/library/{repository}@{digest}");
        sandbox
            .store
            .record_push(&record.id, &canonical, &manifest)
            .unwrap();
        canonical
    };
    let load = || {
        for name in ["a:1", "a:2", "other:1"] {
            sandbox.load(&archive(name)).unwrap();
        }
        push(sandbox.store.inspect("a:1").unwrap(), "a")
    };
    let remove = |name: &str| sandbox.store.remove(name, false, &nobody).unwrap();
    let canonical = load();
    // A digest by itself goes alone.
    let removed = remove(&canonical);
    assert_eq!(
        (removed.untagged, removed.deleted.len()),
        (vec![canonical], 0)
    );
    assert_eq!(sandbox.store.list()[0].names.len(), 3);
    let canonical = load();
    assert_eq!(remove("a:1").untagged, ["docker.io/library/a:1"]);
    let removed = remove("a:2");
    assert_eq!(
        removed.untagged,
        ["docker.io/library/a:2", canonical.as_str()]
    );
    // The image has its other name still, and the digest finds it no more.
    assert!(matches!(
        sandbox.store.remove(&canonical, true, &nobody),
        Err(Error::NotFound(_))
    ));
    assert_eq!(remove("other:1").deleted.len(), 2);
    // Pulled by its digest alone, it goes with that.
    let canonical = load();
    for name in ["a:1", "a:2", "other:1"] {
        push(sandbox.store.list().remove(0), "kept");
        assert_eq!(remove(name).deleted.len(), 0);
    }
    let kept = canonical.replace("/a@", "/kept@");
    assert_eq!(remove(&kept).deleted.len(), 2);
    sandbox.assert_untouched();
}

#[test]
fn an_image_removed_by_force_stays_below_its_stopped_containers_unseen() {
    let sandbox = Sandbox::new();
    let archive = TestImage::new("a:1").layer(base()).docker();
    let id = sandbox.load(&archive).unwrap()[0].id;
    let container = tempfile::tempdir_in(sandbox.directory.path().join("store/images")).unwrap();
    for name in ["a:1", &id.short()] {
        let removed = sandbox.store.remove(name, true, &stopped).unwrap();
        assert_eq!(removed.untagged.len(), 1);
        // The image, not its layers.
        assert_eq!(removed.deleted, [id.to_string()]);
        assert!(sandbox.store.list().is_empty());
        for name in ["a:1", &id.short(), &id.to_string()] {
            let found = sandbox.store.inspect(name);
            assert!(
                matches!(found, Err(Error::NotFound(_))),
                "{name}: {found:?}"
            );
        }
        sandbox.store.release(&stopped).unwrap();
        let root = |store: &Store| store.prepare_root(&id.to_string(), container.path());
        root(&sandbox.store).unwrap();
        // Nor does a restart take it away.
        let reopened = Store::open(&sandbox.path().join("store")).unwrap();
        assert!(root(&reopened).is_ok() && reopened.list().is_empty());
        // Loaded again it is there as ever.
        let again = sandbox.load(&archive).unwrap();
        assert_eq!(again[0].names, ["docker.io/library/a:1"]);
        sandbox.store.release(&nobody).unwrap();
        assert_eq!(sandbox.store.list().len(), 1);
    }
    drop(container);
    sandbox.store.remove("a:1", true, &stopped).unwrap();
    sandbox.store.release(&nobody).unwrap();
    sandbox.assert_untouched();
}

/// Unmounts even where an assertion fails.
struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount_root(&self.0);
    }
}

fn mount(mount: &OverlayMount, directory: &std::path::Path) -> Mounted {
    let target = directory.join("merged");
    fs::create_dir_all(&target).unwrap();
    mount.mount(&target).unwrap();
    Mounted(target)
}

#[test]
fn a_root_shows_the_layers_and_keeps_changes() {
    let sandbox = Sandbox::new();
    let root = Tar::default()
        .raw(tar::EntryType::Directory, "./", "", 0o750, b"")
        .done();
    let id = sandbox
        .load(
            &TestImage::new("a")
                .layer(base())
                .layer(upper())
                .layer(root)
                .docker(),
        )
        .unwrap()[0]
        .id();
    let container = tempfile::tempdir().unwrap();
    let overlay = sandbox.store.prepare_root(&id, container.path()).unwrap();
    {
        let mounted = mount(&overlay, container.path());
        assert_eq!(names(&mounted.0.join("etc")), ["three", "two"]);
        fs::remove_file(mounted.0.join("etc/two")).unwrap();
        fs::write(mounted.0.join("etc/new"), b"n").unwrap();
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&mounted.0).unwrap());
        assert_eq!(mode & 0o7777, 0o750);
    }
    let again = sandbox.store.prepare_root(&id, container.path()).unwrap();
    assert_eq!(again, overlay);
    let mounted = mount(&again, container.path());
    assert_eq!(names(&mounted.0.join("etc")), ["new", "three"]);
    assert_eq!(
        fs::read(overlay.lower[2].join("etc/two")).unwrap(),
        b"2",
        "the layer is as it was"
    );
    drop(mounted);
    unmount_root(&container.path().join("merged")).unwrap();
    unmount_root(&container.path().join("nowhere")).unwrap();
}

#[test]
fn many_layers_mount() {
    let sandbox = Sandbox::new();
    let layers = (0..120).map(|index| Tar::default().file(&format!("f{index}"), b"").done());
    // Twice the same layer, and an empty one.
    let layers = layers.chain([Tar::default().file("f0", b"").done(), Tar::default().done()]);
    let image = layers.fold(TestImage::new("many"), TestImage::layer);
    let id = sandbox.load(&image.docker()).unwrap()[0].id();
    let container = tempfile::tempdir().unwrap();
    let overlay = sandbox.store.prepare_root(&id, container.path()).unwrap();
    let mounted = mount(&overlay, container.path());
    assert_eq!(names(&mounted.0).len(), 120);
}

#[test]
fn odd_paths_and_images_without_layers_mount() {
    let sandbox = Sandbox::new();
    let id = sandbox.load(&TestImage::new("empty").docker()).unwrap()[0].id();
    let container = tempfile::Builder::new()
        .prefix("a,b:c\\d")
        .tempdir()
        .unwrap();
    let overlay = sandbox.store.prepare_root(&id, container.path()).unwrap();
    let mounted = mount(&overlay, container.path());
    fs::write(mounted.0.join("f"), b"").unwrap();
    assert_eq!(names(&overlay.upper), ["f"]);
}

#[test]
fn a_root_file_system_is_imported() {
    let sandbox = Sandbox::new();
    let options = ImportOptions {
        tag: "box".to_owned(),
        changes: vec!["CMD sleep 1".to_owned()],
        message: "mine".to_owned(),
    };
    let record = sandbox
        .store
        .import(&super::testing::gzip(&base())[..], &options, &mut |_| {})
        .unwrap();
    assert_eq!(record.names, ["docker.io/library/box:latest"]);
    assert_eq!(record.config.cmd, ["/bin/sh", "-c", "sleep 1"]);
    assert_eq!(sandbox.store.inspect("box").unwrap(), record);
    assert!(record.created_ns.is_some());
    for (source, tag, change) in [
        (&b"no tar at all"[..], "x", "CMD a"),
        (b"", "x", "CMD a"),
        (&base()[..700], "x", "CMD a"),
        (&base(), "X", "CMD a"),
        (&base(), "x", "RUN a"),
    ] {
        let options = ImportOptions {
            tag: tag.to_owned(),
            changes: vec![change.to_owned()],
            message: String::new(),
        };
        assert!(sandbox.store.import(source, &options, &mut |_| {}).is_err());
    }
    sandbox.store.remove("box", false, &nobody).unwrap();
    sandbox.assert_untouched();
}

#[test]
fn a_builtin_image_is_there_when_asked_for() {
    let sandbox = Sandbox::new();
    let builtin = tempfile::tempdir().unwrap();
    fs::write(
        builtin.path().join("hello.tar"),
        TestImage::new("hello:latest").layer(base()).docker(),
    )
    .unwrap();
    assert!(
        !sandbox
            .store
            .load_builtin_from(builtin.path(), "other")
            .unwrap()
    );
    assert!(
        !sandbox
            .store
            .load_builtin_from(builtin.path(), "me/hello")
            .unwrap()
    );
    assert!(
        !sandbox
            .store
            .load_builtin_from(builtin.path(), "../hello")
            .unwrap()
    );
    assert!(
        !sandbox
            .store
            .load_builtin_from(builtin.path(), "hello:2")
            .unwrap()
    );
    assert!(
        sandbox
            .store
            .load_builtin_from(builtin.path(), "hello")
            .unwrap()
    );
    assert_eq!(sandbox.store.inspect("hello").unwrap().names.len(), 1);
}

#[test]
fn concurrent_loads_of_one_image_agree() {
    let sandbox = Sandbox::new();
    let archive = TestImage::new("a").layer(base()).layer(upper()).docker();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| sandbox.load(&archive).unwrap());
        }
    });
    assert_eq!(sandbox.store.list().len(), 1);
    assert_eq!(names(&sandbox.store.layers()).len(), 2);
    assert_eq!(names(&sandbox.store.temporary()), Vec::<String>::new());
}

#[test]
fn a_load_that_cannot_be_recorded_leaves_no_layer() {
    let sandbox = Sandbox::new();
    // Nothing replaces a directory that is not empty.
    let catalogue = sandbox.path().join("store/images/images.json");
    fs::create_dir_all(catalogue.join("in the way")).unwrap();
    let archive = TestImage::new("a:1").layer(base()).docker();
    assert!(sandbox.load(&archive).is_err());
    sandbox.assert_untouched();
    fs::remove_dir_all(&catalogue).unwrap();
    sandbox.load(&archive).unwrap();
}

/// A small file system of its own, so that it can be full.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(size: &str) -> SmallDisk {
        use nix::mount::{MsFlags, mount};
        let directory = tempfile::tempdir().unwrap();
        let options = format!("size={size},mode=0700");
        mount(
            Some("tmpfs"),
            directory.path(),
            Some("tmpfs"),
            MsFlags::empty(),
            Some(options.as_str()),
        )
        .unwrap();
        SmallDisk(directory)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = unmount_root(self.0.path());
    }
}

#[test]
fn a_full_disk_is_one_clear_error_and_loses_nothing() {
    let disk = SmallDisk::new("1m");
    let store = Store::open(disk.0.path()).unwrap();
    let small = TestImage::new("small").layer(base()).docker();
    store.load(&small[..], &mut |_| {}).unwrap();
    let layer = Tar::default().file("big", &vec![7; 3 << 20]).done();
    let error = store
        .load(
            &TestImage::new("big").layer(layer).docker()[..],
            &mut |_| {},
        )
        .unwrap_err();
    assert!(
        matches!(&error, Error::DiskFull { what } if what.contains("big")),
        "{error}"
    );
    assert_eq!(names(&store.temporary()), Vec::<String>::new());
    let reopened = Store::open(disk.0.path()).unwrap();
    assert_eq!(reopened.list().len(), 1);
    reopened.remove("small", false, &nobody).unwrap();
    reopened.load(&small[..], &mut |_| {}).unwrap();
}
