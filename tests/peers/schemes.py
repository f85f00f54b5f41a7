"""The official library of Slack for Python signs one body, and verifies what offhook has signed.

Standard input and output are as of schemes.js.
"""

import json
import sys

from slack_sdk.signature import Clock, SignatureVerifier

given = json.load(sys.stdin)


class Now(Clock):
    def now(self):
        return float(given['now'])


verifier = SignatureVerifier(given['key'], Now())
body, timestamp = given['body'], str(given['now'])
ours = given['ours']['slack']
signed = {
    'X-Slack-Request-Timestamp': timestamp,
    'X-Slack-Signature': verifier.generate_signature(timestamp=timestamp, body=body),
}
accepts = verifier.is_valid(body, ours['x-slack-request-timestamp'], ours['x-slack-signature'])
print(json.dumps({'scheme': 'slack', 'signed': signed, 'accepts': accepts}))
