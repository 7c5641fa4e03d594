//! The files of a new module. What they say stands in `template/`; `@NAME@` and `@SDK@` are filled in.

/// Path in the new directory, and text.
const FILES: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("../template/Cargo.toml.in")),
    ("module.toml", include_str!("../template/module.toml.in")),
    ("README.md", include_str!("../template/README.md.in")),
    (".gitignore", include_str!("../template/gitignore.in")),
    ("src/main.rs", include_str!("../template/src/main.rs")),
];

/// The files for a module called `name`; `sdk` is the dependency as `Cargo.toml` has it.
pub(crate) fn files(name: &str, sdk: &str) -> impl Iterator<Item = (&'static str, String)> {
    FILES.iter().map(move |(path, text)| (*path, text.replace("@NAME@", name).replace("@SDK@", sdk)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use blvm_manifest::Manifest;

    use super::*;

    #[test]
    fn nothing_is_left_to_fill_in_and_the_manifest_is_right() {
        for (path, text) in files("first-light", "{ path = \"/sdk\" }") {
            assert!(!text.contains("@NAME@") && !text.contains("@SDK@"), "{path}");
            if path == "module.toml" {
                let manifest = Manifest::parse(&text, Path::new(path)).unwrap();
                assert_eq!(
                    (manifest.name.as_str(), manifest.entry_point.as_str()),
                    ("first-light", "first-light")
                );
            }
            if path == "Cargo.toml" {
                let cargo: toml_edit::DocumentMut = text.parse().unwrap();
                assert_eq!(cargo["dependencies"]["blvm-sdk"]["path"].as_str(), Some("/sdk"));
                assert!(cargo.contains_key("workspace"));
            }
        }
    }
}
