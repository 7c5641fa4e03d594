//! `#[command]`: parameters as arguments of a command line.

use proc_macro2::TokenStream as Tokens;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, GenericArgument, ImplItemFn, LitStr, PathArguments, Result, Type};

use crate::docs::about;
use crate::handler::{Parameter, call_for_result};
use crate::options::last_name;

/// `bool` is a flag, `Option<T>` an option with a value, everything else is given by its place.
pub fn handler(name: Option<&LitStr>, method: &ImplItemFn, parameters: &[Parameter]) -> Result<Tokens> {
    let (mut arguments, mut specs) = (Vec::new(), Vec::new());
    for Parameter { name, kind, attributes } in parameters {
        if let Type::Reference(reference) = kind {
            let message =
                "an argument of a command is made from a word: take it by value, a text as `String`";
            return Err(Error::new(reference.span(), message));
        }
        let name = name.to_string().replace('_', "-");
        let (form, is_required, take) = match last_name(kind) {
            Some(known) if known == "bool" => (quote!(Flag), false, quote! { arguments.flag(#name) }),
            Some(known) if known == "Option" => {
                let inner = inner(kind)?;
                let take = quote_spanned! { kind.span()=> arguments.option::<#inner>(#name)? };
                (quote!(Option), false, take)
            }
            _ => {
                let take = quote_spanned! { kind.span()=> arguments.required::<#kind>(#name)? };
                (quote!(Positional), true, take)
            }
        };
        arguments.push(take);
        let about = about(attributes);
        specs.push(quote! {
            ::blvm_sdk::request::CliArgument {
                name: #name.to_owned(),
                about: #about.to_owned(),
                form: ::blvm_sdk::request::CliArgumentForm::#form,
                is_required: #is_required,
            }
        });
    }
    let name = name.map_or_else(|| method.sig.ident.to_string().replace('_', "-"), LitStr::value);
    let about = about(&method.attrs);
    let call = call_for_result(&method.sig, &arguments);
    Ok(quote! {
        handlers.command(#name, #about, ::std::vec![#(#specs),*], |module, arguments| {
            let _ = &arguments;
            ::blvm_sdk::module::output(#call)
        });
    })
}

/// What an `Option` is of.
fn inner(kind: &Type) -> Result<&Type> {
    if let Type::Path(path) = kind
        && let Some(part) = path.path.segments.last()
        && let PathArguments::AngleBracketed(arguments) = &part.arguments
        && let Some(GenericArgument::Type(inner)) = arguments.args.first()
    {
        return Ok(inner);
    }
    Err(Error::new(
        kind.span(),
        "an option of a command is an `Option<T>` of a type that is read from a word",
    ))
}
