"""A database engine of Django that logs in with a secret: see ``strongroom.integrations.django_settings``."""
