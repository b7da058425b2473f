"""Build and install SpamCannibal: the package, its one C extension and the launchers.

The extension `spamcannibal._core` is every file of lib/spamcannibal/core; it needs a C11 compiler and
nothing but the C library. NetfilterQueue and berkeleydb compile against libnetfilter_queue and Berkeley DB 5.3.
"""

from glob import glob

from setuptools import Extension, find_packages, setup

CORE = "lib/spamcannibal/core"

setup(
    name="spamcannibal",
    version="2.0.0.dev0",
    description="Tarpit, DNS blocklist and evidence keeper for operators of mail servers",
    long_description=open("README", encoding="utf-8").read(),
    long_description_content_type="text/markdown",
    license="GPL-2.0-or-later",
    python_requires=">=3.11",
    package_dir={"": "lib"},
    packages=find_packages("lib"),
    package_data={"spamcannibal": ["_core.pyi", "py.typed"]},
    ext_modules=[
        Extension(
            "spamcannibal._core",
            sources=sorted(glob(f"{CORE}/*.c")),
            depends=sorted(glob(f"{CORE}/*.h")),
            include_dirs=[CORE],
            define_macros=[("_GNU_SOURCE", "1")],
            extra_compile_args=["-std=c11", "-O2", "-Wall", "-Wextra", "-fvisibility=hidden"],
        )
    ],
    install_requires=[
        "NetfilterQueue>=1.1",
        "berkeleydb>=18.1.8",
        "cachetools>=5.3",
        "click>=8.1",
        "dnslib>=0.9.23",
        "msgspec>=0.18",
        "python-gnupg>=0.5",
        "rich>=13",
        "scapy>=2.5",
    ],
    # The laboratory of bin/quickstart has a real SMTP server; nothing that is installed for use needs it.
    extras_require={"lab": ["aiosmtpd>=1.4"]},
    entry_points={"console_scripts": ["spamcannibal = spamcannibal.commands.main:main"]},
    scripts=sorted(glob("bin/db*") + glob("bin/dnsbls") + glob("cron/sc_*")),
    data_files=[
        ("share/spamcannibal/conf", sorted(f for f in glob("conf/*") if not f.endswith(("/systemd", "/firewall")))),
        ("share/spamcannibal/conf/firewall", sorted(glob("conf/firewall/*"))),
        ("share/spamcannibal/conf/systemd", sorted(glob("conf/systemd/*"))),
        ("share/spamcannibal/cgi-bin", sorted(glob("cgi-bin/*"))),
    ],
)
