//! What the gateways to WhatsApp have in common: how they write persons and chats.

use crate::ChatType;

/// A person: `+` and digits for a phone number (`digits[:device]@c.us` or `@s.whatsapp.net`), otherwise what the
/// gateway writes. No number is invented for a LID.
pub(super) fn person(id: &str) -> String {
    phone(id).map_or_else(|| id.to_owned(), |digits| format!("+{digits}"))
}

/// The digits of a phone number.
pub(super) fn phone(id: &str) -> Option<&str> {
    let (user, server) = id.split_once('@')?;
    if !matches!(server, "c.us" | "s.whatsapp.net") {
        return None;
    }
    let (digits, device) = user.split_once(':').unwrap_or((user, "0"));
    (is_digits(digits) && is_digits(device)).then_some(digits)
}

pub(super) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The kind of a chat, by its server.
pub(super) fn chat_type(chat: &str) -> Option<ChatType> {
    let (_, server) = chat.rsplit_once('@')?;
    match server {
        "c.us" | "s.whatsapp.net" | "lid" | "hosted" | "hosted.lid" => Some(ChatType::Private),
        "g.us" => Some(ChatType::Group),
        "broadcast" => Some(ChatType::Broadcast),
        "newsletter" => Some(ChatType::Channel),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persons_and_chats() {
        let table = [
            ("4917@c.us", "+4917", Some(ChatType::Private)),
            ("4917:12@s.whatsapp.net", "+4917", Some(ChatType::Private)),
            ("4917:x@c.us", "4917:x@c.us", Some(ChatType::Private)),
            ("9999@lid", "9999@lid", Some(ChatType::Private)),
            ("1203@g.us", "1203@g.us", Some(ChatType::Group)),
            (
                "status@broadcast",
                "status@broadcast",
                Some(ChatType::Broadcast),
            ),
            ("12@newsletter", "12@newsletter", Some(ChatType::Channel)),
            ("@c.us", "@c.us", Some(ChatType::Private)),
            ("4917", "4917", None),
            ("me", "me", None),
            ("", "", None),
        ];
        for (id, from, kind) in table {
            assert_eq!(person(id), from);
            assert_eq!(chat_type(id), kind, "{id}");
        }
    }
}
