//! `#[rpc]`: parameters by name, an answer that serde can write.

use proc_macro2::TokenStream as Tokens;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, ImplItemFn, LitStr, Result, Type};

use crate::docs::about;
use crate::handler::{Parameter, call_for_result};

pub fn handler(name: Option<&LitStr>, method: &ImplItemFn, parameters: &[Parameter]) -> Result<Tokens> {
    let mut arguments = Vec::new();
    for Parameter { name, kind, .. } in parameters {
        if let Type::Reference(reference) = kind {
            let message = "a parameter of a method is made from JSON: take it by value, a text as `String`";
            return Err(Error::new(reference.span(), message));
        }
        let name = name.to_string();
        arguments.push(quote_spanned! { kind.span()=> params.take::<#kind>(#name)? });
    }
    let names = parameters.iter().map(|parameter| parameter.name.to_string());
    let name = name.map_or_else(|| method.sig.ident.to_string(), LitStr::value);
    let about = about(&method.attrs);
    let call = call_for_result(&method.sig, &arguments);
    Ok(quote! {
        handlers.rpc(#name, #about, &[#(#names),*], |module, params| {
            let _ = &params;
            ::blvm_sdk::module::answer(#call)
        });
    })
}
