#!/bin/bash
# Stand in for `pip install .` into /opt/spamcannibal: the checkout's program and its files, where pip would put them.
set -e
share=/opt/spamcannibal/share/spamcannibal
mkdir -p /opt/spamcannibal/bin $share
for name in spamcannibal python; do
    printf '#!/bin/sh\nexec %s/%s "$@"\n' "$(dirname "$PYTHON")" $name >/opt/spamcannibal/bin/$name
    chmod 755 /opt/spamcannibal/bin/$name
done
for launcher in "$CHECKOUT"/bin/{db*,dnsbls,sc_*} "$CHECKOUT"/cron/sc_*; do
    ln -sf "$launcher" /opt/spamcannibal/bin/
done
cp -r "$CHECKOUT/conf" "$CHECKOUT/cgi-bin" "$CHECKOUT/cron" $share/
sed -i '/^@documentation/d' $share/conf/never-list
