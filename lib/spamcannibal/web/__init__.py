"""The web: one Flask application for look-ups, evidence, removal, activity, administration and the API.

| module | what it is |
|---|---|
| site | what pages get: settings, store, clock, mail, names |
| app | the application: parts, headers, errors, limits |
| inert limits visitor | pure: outside text made harmless, rates, who asks |

A part is a module with a blueprint, named in app.parts; its templates are templates/PART*.html.
"""
