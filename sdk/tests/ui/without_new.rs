use blvm_sdk::prelude::*;

struct Watch;

#[module]
impl Watch {
    #[on(BlockConnected)]
    fn block(&self, height: u32) {
        let _ = height;
    }
}

fn main() -> ExitCode {
    blvm_sdk::run::<Watch>()
}
