terraform {
  required_version = ">= 1.11"

  required_providers {
    strongroom = {
      source = "strongroom/strongroom"
    }
  }
}
