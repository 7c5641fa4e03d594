//! What changed between two versions of the protocol: the entries of CHANGELOG.md that name them.

const CHANGELOG: &str = include_str!("../../../../CHANGELOG.md");

/// What came with a version of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) protocol: u32,
    /// The entry as one line.
    pub(super) text: String,
}

/// Changes after protocol `from` up to `to`, oldest first.
pub(super) fn changes(from: u32, to: u32) -> Vec<Change> {
    let mut changes = Vec::new();
    for protocol in from + 1..=to {
        let said = entries().filter(|entry| names(entry, protocol));
        changes.extend(said.map(|text| Change { protocol, text }));
    }
    changes
}

/// Entries of the list, each in one line.
fn entries() -> impl Iterator<Item = String> {
    let entries = CHANGELOG.split("\n- ").skip(1);
    entries.map(|entry| {
        let entry = entry.split("\n\n").next().unwrap_or_default();
        entry.split_whitespace().collect::<Vec<_>>().join(" ")
    })
}

/// Whether an entry speaks of "Protocol N".
fn names(entry: &str, protocol: u32) -> bool {
    let number = protocol.to_string();
    entry.split("Protocol ").skip(1).any(|rest| {
        let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end] == number
    })
}

#[cfg(test)]
mod tests {
    use blvm_bus::request::PROTOCOL_VERSION;

    use super::*;

    #[test]
    fn the_changelog_says_what_each_protocol_changed() {
        for protocol in 2..=PROTOCOL_VERSION {
            let found = changes(protocol - 1, protocol);
            assert!(
                !found.is_empty(),
                "CHANGELOG.md has no entry with \"Protocol {protocol}\": write there what authors of modules have to know of it"
            );
            assert!(found.iter().all(|change| change.protocol == protocol && !change.text.contains('\n')));
        }
        assert_eq!(changes(PROTOCOL_VERSION, PROTOCOL_VERSION), []);
        assert!(!names("Protocol 12.", 1) && names("a Protocol 12.", 12) && names("Protocol 2", 2));
    }
}
