use super::*;

const YML: &str = "\
kernel: {image: debian-linux-6.12}
init: [wherry-guest-agent, wherry-hello]
files:
  - {path: etc/hostname, contents: wherry}
  - {path: usr/bin/wherry-agent, symlink: /init}
  - {path: tmp, directory: true, mode: \"1777\"}
";

fn archive(folder: &Path) -> Vec<u8> {
    let agent = folder.join("agent");
    fs::write(&agent, "a static program").unwrap();
    let description = Description::parse(&folder.join("guest.yml"), YML).unwrap();
    initramfs::root(&description, &agent, Architecture::X86_64)
        .unwrap()
        .to_bytes()
}

#[cfg(target_arch = "x86_64")]
#[test]
fn same_inputs_give_the_same_initramfs_wherever_they_lie() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, other) = (archive(one.path()), archive(other.path()));
    assert!(one == other);
    assert!(initramfs::compress(&one).unwrap() == initramfs::compress(&other).unwrap());
}

#[cfg(target_arch = "x86_64")]
#[test]
fn initramfs_in_place_is_kept_and_a_damaged_one_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("initramfs");
    let (archive_sha256, initramfs_sha256) = packed(b"content", &path, None).unwrap();
    let before = Manifest {
        version: String::new(),
        architecture: String::new(),
        cmdline: String::new(),
        kernel_source: String::new(),
        kernel_inputs: String::new(),
        kernel_sha256: String::new(),
        archive_sha256,
        initramfs_sha256,
        data_disk_inputs: String::new(),
    };
    let good = fs::read(&path).unwrap();
    fs::write(&path, "damaged").unwrap();
    packed(b"content", &path, Some(&before)).unwrap();
    assert!(fs::read(&path).unwrap() == good);
    packed(b"changed", &path, Some(&before)).unwrap();
    assert!(fs::read(&path).unwrap() != good);
}

#[test]
fn bare_init_is_one_program_and_a_folder_for_devices() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bare");
    if Architecture::host() == Some(Architecture::X86_64) {
        build_bare_init(Architecture::X86_64, &path).unwrap();
        assert!(fs::metadata(&path).unwrap().len() < 4096);
    }
}

#[test]
fn missing_agent_is_named() {
    let description = Description::parse(Path::new("guest.yml"), YML).unwrap();
    let agent = Path::new("/nowhere/wherry-guest-agent");
    let error = initramfs::root(&description, agent, Architecture::X86_64).unwrap_err();
    assert!(
        error.to_string().contains("/nowhere/wherry-guest-agent"),
        "{error}"
    );
}
