//! Doc comments as the sentence that `blvm` shows.

use syn::{Attribute, Expr, ExprLit, Lit, Meta};

/// The first paragraph of a doc comment, in one line.
pub fn about(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    });
    let lines: Vec<_> = lines.map(|line| line.trim().to_owned()).collect();
    let paragraph: Vec<_> =
        lines.into_iter().skip_while(String::is_empty).take_while(|line| !line.is_empty()).collect();
    paragraph.join(" ")
}
