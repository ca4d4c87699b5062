terraform {
  required_version = ">= 1.11"

  required_providers {
    postgresql = {
      source  = "cyrilgdn/postgresql"
      version = ">= 1.26"
    }
    strongroom = {
      source = "strongroom/strongroom"
    }
  }
}
