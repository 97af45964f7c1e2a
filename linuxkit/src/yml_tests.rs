use super::*;

fn refusal(text: &str) -> String {
    Description::parse(Path::new("guest.yml"), text)
        .unwrap_err()
        .to_string()
}

#[test]
fn own_description_is_accepted() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("wherry.yml");
    let description = Description::read(&path).unwrap();
    assert_eq!(description.kernel.image, "debian-linux-6.12");
    assert_eq!(description.init.len(), 3);
    let tmp = description.files.iter().find(|f| f.path == "tmp").unwrap();
    assert_eq!(tmp.mode(), 0o1777);
}

#[test]
fn unsupported_sections_and_keys_are_named_with_their_file() {
    let kernel = "kernel: {image: debian-linux-6.12}\n";
    for (text, key) in [
        ("services: [{name: getty, image: x}]\n", "`services`"),
        ("onboot: []\n", "`onboot`"),
        ("trust: {org: [x]}\n", "`trust`"),
        ("init: [linuxkit/runc:v1]\n", "`init[0]: linuxkit/runc:v1`"),
        (
            "files: [{path: a, contents: b, metadata: yaml}]\n",
            "`files[0].metadata`",
        ),
        (
            "files: [{path: a, contents: b, optional: true}]\n",
            "`files[0].optional`",
        ),
    ] {
        let message = refusal(&format!("{kernel}{text}"));
        assert!(message.starts_with("guest.yml: "), "{message}");
        assert!(message.contains(key), "{message}");
    }
    let message = refusal("kernel: {image: x, ucode: y}\n");
    assert!(message.contains("`kernel.ucode`"), "{message}");
}

#[test]
fn malformed_values_say_where() {
    for (text, part) in [
        ("kernel: [", "guest.yml"),
        ("init: []", "`kernel` is missing"),
        ("kernel: {cmdline: x}", "image"),
        ("kernel: {image: a}\nfiles: [{path: a}]", "exactly one of"),
        (
            "kernel: {image: a}\nfiles: [{path: a, contents: b, mode: rw}]",
            "files[0].mode",
        ),
        ("kernel: {image: a}\nfiles: {}", "`files` is not a list"),
    ] {
        let message = refusal(text);
        assert!(message.contains(part), "{message}");
    }
}
