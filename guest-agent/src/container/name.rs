//! Identities: ids, names, and what a name may look like.

use std::fs::File;
use std::io::{self, Read};

/// The kinds of mood a name begins with.
const ADJECTIVES: &[&str] = &[
    "able", "agile", "amber", "ample", "ancient", "azure", "balmy", "blithe", "bold", "brave",
    "breezy", "bright", "brisk", "buoyant", "calm", "candid", "cheery", "clever", "coastal",
    "cosy", "crisp", "daring", "deft", "dewy", "eager", "early", "easy", "fabled", "fair", "fleet",
    "fond", "free", "fresh", "gallant", "gentle", "glad", "golden", "grand", "hardy", "hearty",
    "humble", "idle", "jaunty", "jolly", "keen", "kind", "lively", "loyal", "lucid", "lucky",
    "mellow", "merry", "mighty", "mild", "misty", "modest", "nimble", "noble", "patient", "placid",
    "plucky", "proud", "quick", "quiet", "rapid", "ready", "robust", "sage", "salty", "serene",
    "sharp", "silver", "sleek", "smart", "snug", "sober", "spry", "steady", "stoic", "stout",
    "sturdy", "sunny", "sure", "swift", "tidal", "tidy", "tranquil", "trim", "trusty", "vivid",
    "warm", "wary", "wily", "windy", "wise", "witty", "worthy", "young", "zealous", "zesty",
];

/// Boats and rivers a name ends with.
const BOATS_AND_RIVERS: &[&str] = &[
    "amazon",
    "avon",
    "barge",
    "brig",
    "canoe",
    "caravel",
    "catamaran",
    "clipper",
    "clyde",
    "cobble",
    "cog",
    "congo",
    "coracle",
    "corvette",
    "currach",
    "cutter",
    "danube",
    "dhow",
    "dinghy",
    "dory",
    "elbe",
    "felucca",
    "ferry",
    "frigate",
    "galleon",
    "galley",
    "ganges",
    "garonne",
    "gig",
    "gondola",
    "humber",
    "indus",
    "isar",
    "jollyboat",
    "junk",
    "kayak",
    "keel",
    "ketch",
    "lena",
    "liffey",
    "loire",
    "longship",
    "lugger",
    "main",
    "mekong",
    "mersey",
    "moselle",
    "murray",
    "neckar",
    "niger",
    "nile",
    "oder",
    "orinoco",
    "outrigger",
    "packet",
    "pilot",
    "pinnace",
    "po",
    "pram",
    "proa",
    "punt",
    "raft",
    "rhine",
    "rhone",
    "rowboat",
    "sampan",
    "schooner",
    "scow",
    "seine",
    "severn",
    "shannon",
    "shallop",
    "skiff",
    "sloop",
    "smack",
    "spey",
    "tagus",
    "tartane",
    "tender",
    "thames",
    "tiber",
    "trent",
    "trimaran",
    "tweed",
    "tyne",
    "umiak",
    "vistula",
    "volga",
    "weser",
    "whaler",
    "wherry",
    "xebec",
    "yangtze",
    "yare",
    "yawl",
    "yser",
    "yukon",
    "zambezi",
    "zille",
    "zodiac",
];

/// Returns a new id: 64 hexadecimal digits.
///
/// # Errors
///
/// When the kernel gives no random bytes.
pub(crate) fn new_id() -> io::Result<String> {
    let mut bytes = [0_u8; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let id = hex::encode(bytes);
    // Docker never hands out an id whose short form is a number: it would pass
    // for one in scripts and host names.
    if id.as_bytes()[..12].iter().all(u8::is_ascii_digit) {
        return new_id();
    }
    Ok(id)
}

/// Returns a name like `brave_skiff`. From the second attempt on a number is
/// added, so that attempts end.
pub(crate) fn random_name(attempt: u32) -> io::Result<String> {
    let mut bytes = [0_u8; 6];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let pick = |list: &[&'static str], high: u8, low: u8| {
        list[usize::from(u16::from_be_bytes([high, low])) % list.len()]
    };
    let adjective = pick(ADJECTIVES, bytes[0], bytes[1]);
    let noun = pick(BOATS_AND_RIVERS, bytes[2], bytes[3]);
    Ok(match attempt {
        0 => format!("{adjective}_{noun}"),
        _ => format!(
            "{adjective}_{noun}{}",
            u16::from_be_bytes([bytes[4], bytes[5]])
        ),
    })
}

/// Tells whether a container or volume may have this name: Docker's
/// `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
pub(crate) fn is_valid(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() >= 2
        && name.len() <= 255
        && bytes
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_are_64_hexadecimal_digits_and_differ() {
        let (one, other) = (new_id().unwrap(), new_id().unwrap());
        assert_eq!(one.len(), 64);
        assert!(one.bytes().all(|digit| digit.is_ascii_hexdigit()));
        assert_ne!(one, other);
    }

    #[test]
    fn random_names_are_valid_names() {
        for attempt in 0..200 {
            let name = random_name(attempt % 3).unwrap();
            assert!(is_valid(&name), "{name}");
        }
    }

    #[test]
    fn names_follow_the_grammar() {
        for good in ["ab", "a.b", "web-1", "A_b", "0x"] {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["", "a", "-a", ".a", "_a", "a/b", "a b", "é1", "a\n"] {
            assert!(!is_valid(bad), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_valid_name_is_a_safe_file_name(name in "\\PC{0,20}") {
            if is_valid(&name) {
                prop_assert!(!name.contains('/') && name != "." && name != "..");
            }
        }
    }
}
