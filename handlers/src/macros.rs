//! What the typed events repeat: methods for text fields, and enums that stay open.

/// Adds a method for each text field, with the name of the field.
macro_rules! texts {
    ($event:ident: $($field:ident),+) => {
        impl $event {
            $(
                #[doc = concat!("The text of `", stringify!($field), "`, or `\"\"`.")]
                pub fn $field(&self) -> &str {
                    self.$field.as_ref().map_or("", AsRef::as_ref)
                }
            )+
        }
    };
}

/// Declares an enum for names that the sender may extend at any time. Known names are variants; any other
/// name is kept as it was received.
macro_rules! open_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $(#[doc = concat!("`", $text, "`.")] $(#[$vmeta])* $variant,)+
            /// A name that offhook does not know, as it was received.
            Other(String),
        }

        impl $name {
            /// The name as the gateway writes it.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(name) => name,
                }
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                match name {
                    $($text => Self::$variant,)+
                    other => Self::Other(other.to_owned()),
                }
            }
        }
    };
}

pub(crate) use {open_enum, texts};
