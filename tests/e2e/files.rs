//! Files of containers from the host: copied both ways, compared, exported, made
//! an image of.

use std::fs;

use anyhow::ensure;
use wherry_tests::{Engine, IMAGE};

use crate::Shared;

pub(crate) const TESTS: &[(&str, Shared)] = &[
    ("copies_go_both_ways_by_dockers_rules", copies),
    ("holes_of_files_stay_holes_both_ways", holes),
    ("a_commit_and_an_export_hold_what_was_copied", commit),
];

fn copies(engine: &Engine) -> anyhow::Result<()> {
    let host = tempfile::tempdir()?;
    let path = |name: &str| host.path().join(name).display().to_string();
    fs::create_dir_all(host.path().join("site/inner"))?;
    fs::write(host.path().join("site/page"), "page")?;
    fs::write(host.path().join("site/inner/deep"), "deep")?;
    engine.succeed(&["run", "-d", "--name", "copied", IMAGE, "sleep", "100000"])?;
    let inside = |script: &str| engine.succeed(&["exec", "copied", "sh", "-c", script]);

    // A folder becomes one that is not there, and goes into one that is.
    engine.succeed(&["cp", &path("site"), "copied:/new"])?;
    engine.succeed(&["cp", &path("site"), "copied:/new"])?;
    let found = inside("cd /new; cat page inner/deep site/page; stat -c %u page")?;
    ensure!(found == "pagedeeppage0\n", "{found}");
    engine.succeed(&["cp", &path("site/."), "copied:/tmp"])?;
    engine.succeed(&["cp", &path("site/page"), "copied:/tmp/renamed"])?;
    ensure!(inside("cat /tmp/page /tmp/renamed")? == "pagepage");

    // And back, a stopped container too.
    inside("ln -s page /new/link; dd if=/dev/zero of=/new/big bs=64k count=48 2>/dev/null")?;
    engine.succeed(&["kill", "copied"])?;
    engine.succeed(&["cp", "copied:/new", &path("back")])?;
    ensure!(fs::read_to_string(host.path().join("back/inner/deep"))? == "deep");
    ensure!(fs::metadata(host.path().join("back/big"))?.len() == 3 << 20);
    ensure!(fs::read_link(host.path().join("back/link"))?.as_os_str() == "page");
    engine.succeed(&["cp", "-L", "copied:/new/link", &path("followed")])?;
    ensure!(fs::read_to_string(host.path().join("followed"))? == "page");
    let tar = engine.run(&["cp", "copied:/new/page", "-"])?;
    ensure!(tar.code == 0 && tar.stdout.starts_with("page\0"), "{tar:?}");

    for (arguments, said) in [
        (["copied:/none", "."], "Could not find the file /none"),
        (
            ["copied:/new", "/none/there"],
            "directory /none does not exist",
        ),
        (["/none", "copied:/tmp"], "cannot read /none"),
        (["none:/x", "."], "No such container: none"),
    ] {
        let ran = engine.run(&["cp", arguments[0], arguments[1]])?;
        ensure!(ran.code == 1 && ran.stderr.contains(said), "{ran:?}");
    }
    engine.succeed(&["rm", "-f", "copied"])?;
    Ok(())
}

fn holes(engine: &Engine) -> anyhow::Result<()> {
    use std::os::unix::fs::{FileExt, MetadataExt};
    const SIZE: u64 = 8 << 30;
    let host = tempfile::tempdir()?;
    let made = host.path().join("made");
    let file = fs::File::create(&made)?;
    file.write_all_at(b"middle", SIZE / 2)?;
    file.set_len(SIZE)?;
    engine.succeed(&["run", "-d", "--name", "holed", IMAGE, "sleep", "100000"])?;
    let made = made.display().to_string();
    engine.succeed(&["cp", &made, "holed:/made"])?;
    let look = "stat -c %s /made; du -k /made | cut -f1; \
                dd if=/made bs=1M skip=4096 count=1 2>/dev/null | head -c 6";
    let seen = engine.succeed(&["exec", "holed", "sh", "-c", look])?;
    let lines: Vec<_> = seen.lines().collect();
    ensure!(
        lines[0] == SIZE.to_string() && lines[2] == "middle",
        "{seen}"
    );
    ensure!(lines[1].parse::<u64>()? < 1024, "{seen}");
    let back = host.path().join("back");
    engine.succeed(&["cp", "holed:/made", &back.display().to_string()])?;
    let status = fs::metadata(&back)?;
    ensure!(
        status.len() == SIZE && status.blocks() * 512 < 1 << 20,
        "{status:?}"
    );
    let mut middle = [0; 6];
    fs::File::open(&back)?.read_exact_at(&mut middle, SIZE / 2)?;
    ensure!(&middle == b"middle");
    // It wrote the middle alone, by its blocks; by its length, as Docker counts, more.
    let sizes = engine.succeed(&[
        "ps",
        "-s",
        "--filter",
        "name=holed",
        "--format",
        "{{.Size}}",
    ])?;
    ensure!(sizes.starts_with("8.59GB (virtual 8.59GB"), "{sizes}");
    engine.succeed(&["rm", "-f", "holed"])?;
    Ok(())
}

fn commit(engine: &Engine) -> anyhow::Result<()> {
    let host = tempfile::tempdir()?;
    let file = host.path().join("file");
    fs::write(&file, "content")?;
    let file = file.display().to_string();
    engine.succeed(&["create", "--name", "base", IMAGE, "cat", "/srv-file"])?;
    engine.succeed(&["cp", &file, "base:/srv-file"])?;
    ensure!(engine.succeed(&["diff", "base"])? == "A /srv-file\n");
    engine.succeed(&["commit", "-c", "ENV ADDED=yes", "base", "test/committed:1"])?;
    let ran = engine.succeed(&[
        "run",
        "--rm",
        "test/committed:1",
        "sh",
        "-c",
        "cat /srv-file; echo $ADDED",
    ])?;
    ensure!(ran == "contentyes\n", "{ran}");
    let tar = host.path().join("export.tar").display().to_string();
    engine.succeed(&["export", "-o", &tar, "base"])?;
    engine.succeed(&["import", &tar, "test/exported:1"])?;
    let ran = engine.succeed(&["run", "--rm", "test/exported:1", "/bin/cat", "/srv-file"])?;
    ensure!(ran == "content", "{ran}");
    engine.succeed(&["rm", "base"])?;
    engine.succeed(&["rmi", "test/committed:1", "test/exported:1"])?;
    Ok(())
}
