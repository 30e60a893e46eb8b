//! The store that the host follows, and what the host shows it to be let in.
//!
//! S3's credentials are the SDK's business, which renews them. The token for an HTTP store lies in a file, which is read again
//! when the store refuses the token: whoever replaces it need not tell the agent.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use npc_core::layout::ObjectKey;
use npc_core::store::{
    self, Answer, Content, ETag, Fault, Listed, Opened, Options, Precondition, Read, Store, StoreError, StoreUrl,
    Token, TokenError,
};
use npc_core::{explain, files};
use thiserror::Error;

use crate::failure::Failure;
use crate::settings::Settings;

/// Opens the store that the settings name. Nothing is sent to it yet.
pub async fn open(settings: &Settings) -> Result<Arc<dyn Store>, Failure> {
    match &settings.store_token_file {
        None => store::open(&settings.store, Options::default()).await.map_err(Failure::usage),
        Some(file) => Ok(Arc::new(TokenStore::open(settings.store.clone(), file.clone()).await?)),
    }
}

/// A store that cannot be opened with the token that a file holds.
#[derive(Debug, Error)]
pub enum TokenFileError {
    /// The file cannot be read.
    #[error("cannot read the store's token in `{}`", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// Others than its owner can read it.
    #[error("`{}`, with the store's token, can be read by others than its owner", .0.display())]
    Exposed(PathBuf),
    /// It holds no token, or one that this store must not be sent.
    #[error("the token in `{}` cannot be used", .0.display())]
    Token(PathBuf, #[source] TokenError),
}

impl TokenFileError {
    /// What a person can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Read(..) => {
                "`store_token_file` names a file with the host's token, as the server's operator made it".to_owned()
            }
            Self::Exposed(path) => format!("chmod 600 {}", path.display()),
            Self::Token(_, TokenError::Form) => {
                "the file holds the token alone, as it stands in the server's file of hosts' tokens".to_owned()
            }
            Self::Token(_, TokenError::Clear(_)) => "put a proxy that speaks TLS in front of the server".to_owned(),
        }
    }
}

impl From<TokenFileError> for Failure {
    fn from(error: TokenFileError) -> Self {
        let hint = error.hint();
        Self::usage(error).hint(hint)
    }
}

fn read_token(path: &Path) -> Result<Token, TokenFileError> {
    let cannot = |error| TokenFileError::Read(path.to_owned(), error);
    if files::is_readable_by_others(path).map_err(cannot)? {
        return Err(TokenFileError::Exposed(path.to_owned()));
    }
    let text = fs::read_to_string(path).map_err(cannot)?;
    Token::new(&text).map_err(|error| TokenFileError::Token(path.to_owned(), error))
}

/// A store with the token that a file holds, also once that holds another.
struct TokenStore {
    url: StoreUrl,
    file: PathBuf,
    opened: Mutex<OpenedWith>,
}

/// A store as it was opened with a token.
#[derive(Clone)]
struct OpenedWith {
    token: Token,
    store: Arc<dyn Store>,
}

impl fmt::Debug for TokenStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TokenStore").field("url", &self.url).field("file", &self.file).finish_non_exhaustive()
    }
}

impl TokenStore {
    async fn open(url: StoreUrl, file: PathBuf) -> Result<Self, TokenFileError> {
        let opened = Self::open_with(&url, &file, read_token(&file)?).await?;
        Ok(Self { url, file, opened: Mutex::new(opened) })
    }

    async fn open_with(url: &StoreUrl, file: &Path, token: Token) -> Result<OpenedWith, TokenFileError> {
        let options = Options { token: Some(token.clone()), ..Options::default() };
        let store = store::open(url, options).await;
        Ok(OpenedWith { token, store: store.map_err(|error| TokenFileError::Token(file.to_owned(), error))? })
    }

    /// The store as it is open now. A panic elsewhere leaves it whole: it is only ever replaced.
    fn opened(&self) -> OpenedWith {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks the store, and once more if it refuses the token and the file holds another by now.
    async fn ask<T, Asking>(&self, ask: impl Fn(Arc<dyn Store>) -> Asking + Send + Sync) -> Result<T, StoreError>
    where
        T: Send,
        Asking: Future<Output = Result<T, StoreError>> + Send,
    {
        let opened = self.opened();
        match ask(Arc::clone(&opened.store)).await {
            Err(error) if error.fault == Fault::BadCredentials => match self.renewed(&opened.token).await {
                Some(store) => ask(store).await,
                None => Err(error),
            },
            answered => answered,
        }
    }

    /// The store with a token other than the one that it refused, if there is one.
    async fn renewed(&self, refused: &Token) -> Option<Arc<dyn Store>> {
        let opened = self.opened();
        if opened.token != *refused {
            return Some(opened.store);
        }
        let read = match read_token(&self.file) {
            Ok(token) if token == *refused => return None,
            Ok(token) => Self::open_with(&self.url, &self.file, token).await,
            Err(error) => Err(error),
        };
        match read {
            Ok(opened) => {
                tracing::info!("the store refused the token, and its file holds another one by now");
                *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = opened.clone();
                Some(opened.store)
            }
            Err(error) => {
                let (kind, hint) = (Fault::BadCredentials.kind(), error.hint());
                tracing::warn!(kind, hint, "{}", explain::in_one_line(&error));
                None
            }
        }
    }
}

#[async_trait]
impl Store for TokenStore {
    fn url(&self) -> &StoreUrl {
        &self.url
    }

    async fn read(&self, key: &ObjectKey, read: Read<'_>) -> Result<Answer, StoreError> {
        self.ask(|store| async move { store.read(key, read).await }).await
    }

    async fn open(&self, key: &ObjectKey, start: u64, version: Option<&ETag>) -> Result<Opened, StoreError> {
        self.ask(|store| async move { store.open(key, start, version).await }).await
    }

    async fn write(
        &self,
        key: &ObjectKey,
        content: Content<'_>,
        precondition: Precondition,
    ) -> Result<Option<ETag>, StoreError> {
        let precondition = &precondition;
        self.ask(|store| async move { store.write(key, content, precondition.clone()).await }).await
    }

    async fn remove(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.ask(|store| async move { store.remove(key).await }).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.ask(|store| async move { store.list(prefix).await }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refusal(url: &str, file: &Path) -> TokenFileError {
        let url = url.parse().expect("an address");
        TokenStore::open(url, file.to_owned()).await.expect_err("it cannot be opened")
    }

    #[tokio::test]
    async fn a_token_that_cannot_be_used_is_refused_with_what_to_do_and_without_being_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let here = "http://127.0.0.1:1/";
        assert!(matches!(refusal(here, &path).await, TokenFileError::Read(..)));
        files::create_private(&path, b"too short").expect("made");
        assert!(matches!(refusal(here, &path).await, TokenFileError::Token(_, TokenError::Form)));
        files::write_atomically(&path, b"a-token-0123456789\n", 0o600).expect("written");
        let error = refusal("http://store.example.org/", &path).await;
        assert!(matches!(error, TokenFileError::Token(_, TokenError::Clear(_))));
        let said = format!("{} {}", explain::in_one_line(&error), error.hint());
        assert!(said.contains("https://") && said.contains("TLS") && !said.contains("a-token-"), "{said}");
        let opened = TokenStore::open(here.parse().expect("an address"), path.clone()).await.expect("opened");
        assert!(!format!("{opened:?}").contains("a-token-"));
        files::write_atomically(&path, b"a-token-0123456789\n", 0o640).expect("written");
        assert!(matches!(refusal(here, &path).await, TokenFileError::Exposed(_)));
    }
}
