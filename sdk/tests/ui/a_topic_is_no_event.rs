use blvm_sdk::prelude::*;

struct Watch;

#[module]
impl Watch {
    fn new(_: Start) -> Result<Self, Error> {
        Ok(Watch)
    }

    #[on(Chain)]
    fn block(&self, height: u32) {
        let _ = height;
    }
}

fn main() -> ExitCode {
    blvm_sdk::run::<Watch>()
}
