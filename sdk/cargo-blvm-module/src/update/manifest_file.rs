//! What a `module.toml` says of the bus it was built for, as this release has it.

use blvm_bus::layout::LAYOUT_VERSION;
use blvm_bus::message::topic_named;
use toml_edit::{DocumentMut, Item, Value};

/// Brings `[compatibility]` up to date where the author has written something there; key, what it was, and what it is.
pub(super) fn bring_up_to_date(document: &mut DocumentMut) -> Vec<(String, String, String)> {
    let mut changed = Vec::new();
    let Some(table) = document.get_mut("compatibility").and_then(Item::as_table_like_mut) else {
        return changed;
    };
    let mut set = |key: String, item: &mut Item, is: Value| {
        let Item::Value(value) = item else { return };
        let was = value.clone().decorated("", "").to_string();
        if was == is.to_string() {
            return;
        }
        let decor = value.decor().clone();
        changed.push((format!("compatibility.{key}"), was, is.to_string()));
        *value = is;
        *value.decor_mut() = decor;
    };
    if let Some(layout) = table.get_mut("bus_layout") {
        set("bus_layout".to_owned(), layout, i64::from(LAYOUT_VERSION).into());
    }
    if let Some(schemas) = table.get_mut("schemas").and_then(Item::as_table_like_mut) {
        for (name, schema) in schemas.iter_mut() {
            if let Some(topic) = topic_named(name.get()) {
                set(format!("schemas.{name}"), schema, format!("{:#018x}", topic.schema).into());
            }
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_author_wrote_of_the_bus_is_brought_up_to_date() {
        let chain = format!("{:#018x}", topic_named("chain").unwrap().schema);
        let text = "name = \"a\" # me\n[compatibility]\nmin_node_version = \"0.1.0\"\nbus_layout = 1   # old\n\
            schemas = { chain = \"0x0000000000000000\", nothing = \"0x00\" } # both\n";
        let mut document: DocumentMut = text.parse().unwrap();
        assert_eq!(bring_up_to_date(&mut document).len(), 2);
        let expected = text
            .replace("bus_layout = 1", &format!("bus_layout = {LAYOUT_VERSION}"))
            .replace("0x0000000000000000", &chain);
        assert_eq!(document.to_string(), expected);
        assert_eq!(bring_up_to_date(&mut document), []);
        let mut other: DocumentMut = "name = \"a\"\n".parse().unwrap();
        assert_eq!(bring_up_to_date(&mut other), []);
    }
}
