//! A method that is a handler: what all kinds have in common.

use proc_macro2::TokenStream as Tokens;
use quote::quote_spanned;
use syn::spanned::Spanned;
use syn::{Attribute, Error, FnArg, Ident, ImplItemFn, Pat, Result, Signature, Type};

use crate::attributes::{Trigger, take};
use crate::options::answers_result;
use crate::{command, event, mempool, method, missed, timer};

/// A parameter: its name, its type, its documentation.
pub struct Parameter {
    pub name: Ident,
    pub kind: Type,
    pub attributes: Vec<Attribute>,
}

/// The handlers that a method is; its attributes and the documentation of its parameters are taken off.
pub fn handlers(method: &mut ImplItemFn) -> std::result::Result<Vec<Tokens>, Vec<Error>> {
    let triggers = take(&mut method.attrs)?;
    if triggers.is_empty() {
        return Ok(Vec::new());
    }
    check_receiver(&method.sig).map_err(|error| vec![error])?;
    let parameters = parameters(&mut method.sig).map_err(|error| vec![error])?;
    let (mut handlers, mut errors) = (Vec::new(), Vec::new());
    for trigger in triggers {
        let handler = match trigger {
            Trigger::On(on) => event::handler(&on, &method.sig, &parameters),
            Trigger::Missed(topic) => missed::handler(topic.as_ref(), &method.sig, &parameters),
            Trigger::Mempool => mempool::handler(&method.sig, &parameters),
            Trigger::Rpc(name) => method::handler(name.as_ref(), method, &parameters),
            Trigger::Command(name) => command::handler(name.as_ref(), method, &parameters),
            Trigger::Every(interval) => timer::handler(&interval, &method.sig, &parameters),
        };
        match handler {
            Ok(handler) => handlers.push(handler),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(handlers) } else { Err(errors) }
}

fn check_receiver(signature: &Signature) -> Result<()> {
    let why = "a handler takes `&self`: several may run at once. Keep what changes in a `Mutex` or an atomic";
    match signature.receiver() {
        Some(receiver) if receiver.reference.is_some() && receiver.mutability.is_none() => Ok(()),
        Some(receiver) => Err(Error::new(receiver.span(), why)),
        None => Err(Error::new(signature.ident.span(), why)),
    }
}

fn parameters(signature: &mut Signature) -> Result<Vec<Parameter>> {
    let typed = signature.inputs.iter_mut().filter_map(|input| match input {
        FnArg::Typed(typed) => Some(typed),
        FnArg::Receiver(_) => None,
    });
    let parameter = |typed: &mut syn::PatType| {
        let attributes = std::mem::take(&mut typed.attrs);
        match &*typed.pat {
            Pat::Ident(pattern) => {
                Ok(Parameter { name: pattern.ident.clone(), kind: (*typed.ty).clone(), attributes })
            }
            other => {
                Err(Error::new(other.span(), "a parameter of a handler is a name: it says what is meant"))
            }
        }
    };
    typed.map(parameter).collect()
}

/// The call of a method, brought to its end if it is async.
pub fn call(signature: &Signature, arguments: &[Tokens]) -> Tokens {
    let name = &signature.ident;
    let call = quote_spanned! { name.span()=> Self::#name(module #(, #arguments)*) };
    if signature.asyncness.is_some() {
        quote_spanned! { name.span()=> ::blvm_sdk::module::block_on(#call) }
    } else {
        call
    }
}

/// The call as a `Result` with the SDK's error.
pub fn call_for_result(signature: &Signature, arguments: &[Tokens]) -> Tokens {
    let call = call(signature, arguments);
    let span = signature.output.span();
    if answers_result(&signature.output) {
        quote_spanned! { span=> ::blvm_sdk::module::with_error(#call) }
    } else {
        quote_spanned! { span=> ::core::result::Result::<_, ::blvm_sdk::module::Error>::Ok(#call) }
    }
}
