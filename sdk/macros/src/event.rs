//! `#[on(EVENT)]`: fields of the event by name.

use proc_macro2::TokenStream as Tokens;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Result, Signature};

use crate::attributes::On;
use crate::handler::{Parameter, call_for_result};

/// `body`, `sequence` and `message` are of the message itself; all other names are fields. Which there are the compiler knows.
pub fn handler(on: &On, signature: &Signature, parameters: &[Parameter]) -> Result<Tokens> {
    let event = &on.event;
    let mut holds = None;
    let arguments: Vec<_> = parameters
        .iter()
        .map(|Parameter { name, kind, .. }| {
            let span = kind.span();
            match name.to_string().as_str() {
                "body" => {
                    holds = Some(quote_spanned! { event.span()=>
                        let held = <#event as ::blvm_sdk::module::HasBody>::hold(message);
                    });
                    quote_spanned! { span=> <_ as ::blvm_sdk::module::TakeBody<'_, #kind>>::take(&held)? }
                }
                "sequence" => quote_spanned! { span=> message.sequence() },
                "message" => quote_spanned! { span=> message },
                _ => {
                    quote_spanned! { span=> <_ as ::blvm_sdk::module::Field<'_, #kind>>::take(&fields.#name) }
                }
            }
        })
        .collect();
    let register = if on.is_concurrent { quote!(on_concurrently) } else { quote!(on) };
    let name = signature.ident.to_string();
    let call = call_for_result(signature, &arguments);
    Ok(quote! {
        handlers.#register::<#event>(#name, |module, message| {
            let fields = message.fields();
            let _ = &fields;
            #holds
            #call
        });
    })
}
