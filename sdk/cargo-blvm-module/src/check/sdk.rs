//! The SDK that a module is built with: which protocol and layout it speaks, read from its source.

use std::path::{Path, PathBuf};

use blvm_bus::layout::LAYOUT_VERSION;
use blvm_bus::request::PROTOCOL_VERSION;
use serde_json::Value;

/// Versions of the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) protocol: u32,
    pub(crate) layout: u32,
}

/// Those of the node that this tool belongs to.
pub(crate) const OURS: Versions = Versions { protocol: PROTOCOL_VERSION, layout: LAYOUT_VERSION };

/// The SDK in what `cargo metadata` says of a module, and what it speaks; `None` where it has none, or another form.
pub(crate) fn found(metadata: &Value) -> Option<(PathBuf, Versions)> {
    let packages = metadata["packages"].as_array()?;
    let directory = |name: &str| {
        let package = packages.iter().find(|package| package["name"] == name)?;
        Path::new(package["manifest_path"].as_str()?).parent()
    };
    let bus = directory("blvm-bus")?.join("src");
    let number = |file: &str, name: &str| {
        let text = std::fs::read_to_string(bus.join(file)).ok()?;
        let (_, rest) = text.split_once(&format!("pub const {name}: u32 = "))?;
        rest.split_once(';')?.0.parse().ok()
    };
    let protocol = number("request.rs", "PROTOCOL_VERSION")?;
    let layout = number("layout.rs", "LAYOUT_VERSION")?;
    Some((directory("blvm-sdk")?.to_owned(), Versions { protocol, layout }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_versions_of_this_sdk_are_found_in_its_source() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let package = |name: &str, place: &str| json!({ "name": name, "manifest_path": root.join(place).join("Cargo.toml") });
        let metadata = json!({ "packages": [package("blvm-bus", "bus"), package("blvm-sdk", "sdk")] });
        let (path, versions) = found(&metadata).unwrap();
        assert_eq!((path, versions), (root.join("sdk"), OURS));
        assert_eq!(found(&json!({ "packages": [] })), None);
    }
}
