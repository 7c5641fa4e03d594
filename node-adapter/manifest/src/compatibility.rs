//! Whether a module works with this node: looked at before anything is spawned.

use blvm_bus::layout::LAYOUT_VERSION;
use blvm_bus::message;
use semver::{Version, VersionReq};

use crate::manifest::Manifest;

/// Why a module does not work with this node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Incompatible {
    /// It wants other versions of the node.
    #[error("module {name} needs blvm-node {needs}, and this node is {have}")]
    NodeVersion {
        /// The module.
        name: String,
        /// What it needs.
        needs: VersionReq,
        /// What is here.
        have: Version,
    },
    /// It wants a newer node.
    #[error("module {name} needs a node of version {needs} or newer, and this node is {have}")]
    NodeTooOld {
        /// The module.
        name: String,
        /// The oldest it works with.
        needs: Version,
        /// What is here.
        have: Version,
    },
    /// It was built for another layout of segments.
    #[error(
        "module {name} was built for bus layout {needs}, and this node has {have}: build it again with this node's SDK"
    )]
    BusLayout {
        /// The module.
        name: String,
        /// What it was built for.
        needs: u32,
        /// What is here.
        have: u32,
    },
    /// It was built for another schema of a topic.
    #[error(
        "module {name} was built for schema {needs:#018x} of topic {topic}, and this node has {have:#018x}: build it again with this node's SDK"
    )]
    Schema {
        /// The module.
        name: String,
        /// The topic.
        topic: &'static str,
        /// What it was built for.
        needs: u64,
        /// What is here.
        have: u64,
    },
}

impl Manifest {
    /// Whether the module works with a node of version `node`, and with the bus this program was built with.
    ///
    /// # Errors
    ///
    /// [`Incompatible`]: the first thing that does not fit.
    pub fn check_compatibility(&self, node: &Version) -> Result<(), Incompatible> {
        let wants = &self.compatibility;
        let name = || self.name.clone();
        if let Some(needs) = wants.node.as_ref().filter(|needs| !needs.matches(node)) {
            return Err(Incompatible::NodeVersion { name: name(), needs: needs.clone(), have: node.clone() });
        }
        if let Some(needs) = wants.min_node_version.as_ref().filter(|&needs| needs > node) {
            return Err(Incompatible::NodeTooOld { name: name(), needs: needs.clone(), have: node.clone() });
        }
        if let Some(needs) = wants.bus_layout.filter(|&needs| needs != LAYOUT_VERSION) {
            return Err(Incompatible::BusLayout { name: name(), needs, have: LAYOUT_VERSION });
        }
        for (&number, &needs) in &wants.schemas {
            if let Some(topic) = message::topic(number).filter(|topic| topic.schema != needs) {
                return Err(Incompatible::Schema {
                    name: name(),
                    topic: topic.name,
                    needs,
                    have: topic.schema,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn check(more: &str) -> Result<(), Incompatible> {
        let text = format!("name = \"mesh\"\nversion = \"0.1.0\"\nentry_point = \"mesh\"\n{more}");
        Manifest::parse(&text, Path::new("module.toml")).unwrap().check_compatibility(&Version::new(0, 2, 5))
    }

    #[test]
    fn the_nodes_version_layout_and_schemas_have_to_fit() {
        let schema = |id: u64| format!("[compatibility.schemas]\nchain = \"{id:#018x}\"");
        let chain = message::topic_named("chain").unwrap().schema;
        for right in [
            "",
            "[dependencies]\nblvm-node = \">=0.2, <0.3\"",
            "[compatibility]\nmin_node_version = \"0.2.5\"",
            &format!("[compatibility]\nbus_layout = {LAYOUT_VERSION}"),
            &schema(chain),
        ] {
            assert_eq!(check(right), Ok(()), "{right}");
        }
        for (wrong, told) in [
            ("[dependencies]\nblvm-node = \"^0.1\"", "mesh needs blvm-node ^0.1, and this node is 0.2.5"),
            (
                "[compatibility]\nmin_node_version = \"0.2.6\"",
                "version 0.2.6 or newer, and this node is 0.2.5",
            ),
            ("[compatibility]\nbus_layout = 1", "bus layout 1, and this node has 2"),
            (&schema(chain ^ 1), "of topic chain, and this node has 0x"),
        ] {
            let error = check(wrong).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
