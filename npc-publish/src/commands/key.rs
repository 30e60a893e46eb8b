//! `npc-publish key`: makes and shows keys.

use npc_operator::failure::Failure;
use npc_operator::keys;

use crate::cli::Key;
use crate::console;

pub(crate) fn key(command: &Key) -> Result<(), Failure> {
    match command {
        Key::Generate { name, output } => {
            let key = keys::generate(name.as_str())?;
            keys::write(output, &key)?;
            console::say(format_args!("the secret half of {name} is in `{}`", output.display()));
            console::data(key.public())
        }
        Key::Public { file } => console::data(keys::read(file)?.public()),
    }
}
