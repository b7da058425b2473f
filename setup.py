"""Build and install SpamCannibal: the package, its one C extension and the launchers.

The extension `spamcannibal._core` is every file of lib/spamcannibal/core; it needs a C11 compiler and
nothing but the C library. NetfilterQueue and berkeleydb compile against libnetfilter_queue and Berkeley DB 5.3.
"""

from pathlib import Path

from setuptools import Extension, find_packages, setup

CORE = "lib/spamcannibal/core"


def files(*patterns):
    """Return the files that match, sorted, as setuptools wants them: relative to the checkout."""
    return sorted(str(path) for pattern in patterns for path in Path().glob(pattern) if path.is_file())


setup(
    name="spamcannibal",
    version="2.0.0.dev0",
    description="Tarpit, DNS blocklist and evidence keeper for operators of mail servers",
    long_description=Path("README").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="GPL-2.0-or-later",
    python_requires=">=3.11",
    package_dir={"": "lib"},
    packages=find_packages("lib"),
    package_data={"spamcannibal": ["_core.pyi", "py.typed", "web/*.json", "web/templates/*.html", "web/static/*"]},
    ext_modules=[
        Extension(
            "spamcannibal._core",
            sources=files(f"{CORE}/*.c"),
            depends=files(f"{CORE}/*.h"),
            include_dirs=[CORE],
            define_macros=[("_GNU_SOURCE", "1")],
            extra_compile_args=["-std=c11", "-O2", "-Wall", "-Wextra", "-fvisibility=hidden"],
        )
    ],
    install_requires=[
        "Flask>=3.0",
        "NetfilterQueue>=1.1",
        "aiosmtpd>=1.4",
        "argon2-cffi>=23.1",
        "berkeleydb>=18.1.8",
        "cachetools>=5.3",
        "click>=8.1",
        "dkimpy>=1.1",
        "dnslib>=0.9.23",
        "dnspython>=2.6",
        "matplotlib>=3.7",
        "msgspec>=0.18",
        "pyotp>=2.9",
        "python-gnupg>=0.5",
        "rich>=13",
        "scapy>=2.5",
        "segno>=1.5",
        "waitress>=3.0",
    ],
    entry_points={"console_scripts": ["spamcannibal = spamcannibal.commands.main:main"]},
    scripts=files("bin/db*", "bin/dnsbls", "bin/sc_*", "cron/sc_*"),
    data_files=[
        (f"share/spamcannibal/{folder}", files(f"{folder}/*"))
        for folder in ("conf", *sorted(str(path) for path in Path("conf").iterdir() if path.is_dir()), "cgi-bin")
    ]
    + [("share/spamcannibal/cron", ["cron/crontab"])],
)
