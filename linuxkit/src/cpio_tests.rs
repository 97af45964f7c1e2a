use proptest::prelude::*;

use super::*;

fn file(text: &str) -> Content {
    Content::File(text.as_bytes().to_vec())
}

/// Reads an archive back: name, mode, data.
fn parsed(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
    let mut entries = Vec::new();
    let mut at = 0;
    loop {
        let field = |index: usize| {
            let start = at + 6 + index * 8;
            let text = std::str::from_utf8(&bytes[start..start + 8]).unwrap();
            usize::from_str_radix(text, 16).unwrap()
        };
        assert_eq!(&bytes[at..at + 6], b"070701");
        let (mode, size, name_size) = (field(1), field(6), field(11));
        let name_at = at + 110;
        let name = String::from_utf8(bytes[name_at..name_at + name_size - 1].to_vec()).unwrap();
        let data_at = (name_at + name_size).next_multiple_of(4);
        if name == "TRAILER!!!" {
            return entries;
        }
        let data = bytes[data_at..data_at + size].to_vec();
        entries.push((name, u32::try_from(mode).unwrap(), data));
        at = (data_at + size).next_multiple_of(4);
    }
}

#[test]
fn parents_come_before_children_and_links_keep_their_target() {
    let mut archive = Archive::new();
    archive.add("usr/bin/tool", 0o755, file("x")).unwrap();
    archive
        .add("/init", 0o777, Content::Symlink("usr/bin/tool".into()))
        .unwrap();
    let names: Vec<_> = parsed(&archive.to_bytes());
    assert_eq!(
        names,
        vec![
            ("init".into(), 0o120_777, b"usr/bin/tool".to_vec()),
            ("usr".into(), 0o040_755, vec![]),
            ("usr/bin".into(), 0o040_755, vec![]),
            ("usr/bin/tool".into(), 0o100_755, b"x".to_vec()),
        ]
    );
}

#[test]
fn order_of_adding_does_not_change_the_bytes() {
    let mut one = Archive::new();
    one.add("a", 0o644, file("1")).unwrap();
    one.add("b/c", 0o644, file("2")).unwrap();
    let mut other = Archive::new();
    other.add("b/c", 0o644, file("2")).unwrap();
    other.add("a", 0o644, file("1")).unwrap();
    assert_eq!(one.to_bytes(), other.to_bytes());
}

#[test]
fn paths_that_climb_collide_or_pass_through_a_file_are_refused() {
    let mut archive = Archive::new();
    archive.add("a", 0o644, file("1")).unwrap();
    for (path, content) in [
        ("../a", file("")),
        ("x/../../a", file("")),
        ("", file("")),
        ("a", file("2")),
        ("a", Content::Directory),
        ("a/b", file("")),
    ] {
        assert!(archive.add(path, 0o644, content).is_err(), "{path}");
    }
}

proptest! {
    #[test]
    fn whatever_is_written_reads_back(
        files in proptest::collection::btree_map(
            "[a-z]{1,20}", proptest::collection::vec(any::<u8>(), 0..64), 0..20)
    ) {
        let mut archive = Archive::new();
        for (name, data) in &files {
            archive.add(name, 0o644, Content::File(data.clone())).unwrap();
        }
        let expected: Vec<_> = files.into_iter().map(|(n, d)| (n, 0o100_644, d)).collect();
        prop_assert_eq!(parsed(&archive.to_bytes()), expected);
    }
}
