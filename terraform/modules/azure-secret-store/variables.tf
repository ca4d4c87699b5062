variable "name" {
  description = "Prefix of the store: the secret db/password is NAME--db--password in the vault."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]+([._-][a-z0-9]+)*(/[a-z0-9]+([._-][a-z0-9]+)*)*$", var.name))
    error_message = "The name is lower-case letters and digits with single . _ - between, in parts joined by /."
  }

  validation {
    condition     = length(replace(replace(replace(var.name, "/", "//"), ".", "..."), "_", "____")) <= 24
    error_message = "The name has at most 24 units (a letter, digit or dash is 1, / 2, . 3, _ 4), so that every secret fits every provider."
  }
}

variable "vault_name" {
  description = "Name of the vault, unique in all of Azure. Each application should have its own: grants know no prefixes."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,22}[a-z0-9]$", var.vault_name)) && !strcontains(var.vault_name, "--")
    error_message = "A vault's name is 3 to 24 lower-case letters, digits and single dashes."
  }
}

variable "resource_group_name" {
  description = "Resource group that everything is made in."
  type        = string
  nullable    = false
}

variable "location" {
  description = "Region of the vault; Azure copies it to the paired region by itself."
  type        = string
  nullable    = false
}

variable "tenant_id" {
  description = "Tenant of Entra ID whose tokens the vault takes."
  type        = string
  nullable    = false
}

variable "secrets" {
  description = "The secrets, by Strongroom's names. One with rotate = true gets its value here once. Tags are what a secret is born with; later `strongroom tag` changes them."
  type = map(object({
    description = optional(string)
    rotate      = optional(bool, false)
    tags        = optional(map(string), {})
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for name in keys(var.secrets) : can(regex("^[a-z0-9]+([._-][a-z0-9]+)*(/[a-z0-9]+([._-][a-z0-9]+)*)*$", name))])
    error_message = "A secret's name is lower-case letters and digits with single . _ - between, in parts joined by /."
  }
}

variable "values" {
  description = "Values by name. Never in state or plan; given at every apply in which value_versions asks for a write."
  type        = map(string)
  default     = {}
  nullable    = false
  ephemeral   = true
  sensitive   = true
}

variable "value_versions" {
  description = "By name, a number of yours: a new one writes the value. A name that is not here gets no value from Terraform; one with rotate = true gets its value once."
  type        = map(number)
  default     = {}
  nullable    = false

  validation {
    condition     = length(setsubtract(keys(var.value_versions), keys(var.secrets))) == 0
    error_message = "value_versions names a secret that `secrets` does not have."
  }

  validation {
    condition     = alltrue([for number in values(var.value_versions) : number >= 1 && floor(number) == number])
    error_message = "A value's version is a whole number from 1: below it, the provider would keep the value in state."
  }
}

variable "soft_delete_days" {
  description = "Days, 7 to 90, for which what was deleted can be restored; of a vault that is there it cannot be changed."
  type        = number
  default     = 90
  nullable    = false
}

variable "network" {
  description = "Who reaches the vault: addresses and subnets, and a subnet for a private endpoint with its DNS zones; everybody else is refused, but for Azure's own trusted services. With public = false only the endpoint is left."
  type = object({
    ip_rules           = optional(list(string), [])
    subnet_ids         = optional(list(string), [])
    endpoint_subnet_id = optional(string)
    dns_zone_ids       = optional(list(string), [])
    public             = optional(bool, true)
  })
  default  = {}
  nullable = false
}

variable "key" {
  description = "An RSA key of the vault that wraps data keys, for stores with forgeable = true: its name, type, size, and how often it rotates. Null for none."
  type = object({
    name          = optional(string)
    type          = optional(string, "RSA-HSM")
    size          = optional(number, 3072)
    rotation_days = optional(number, 90)
  })
  default = null
}

variable "readers" {
  description = "Object ids of the principals that read values."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "rotators" {
  description = "Object ids of the principals that rotate, beside this module's function."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "administrators" {
  description = "Object ids of the principals that write, tag, delete, restore, purge and replicate."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "rotation" {
  description = "How what has rotate = true is rotated: rotator and its options, schedule, window, timezone and grace, for strongroom_toml. With `function` the function app is made, in a subnet if one is given; with `events`, once its code is there, Event Grid's subscription. Null for none."
  type = object({
    rotator     = string
    options     = optional(any, {})
    schedule    = optional(string, "rate(30 days)")
    timezone    = optional(string, "UTC")
    window      = optional(string)
    grace       = optional(string, "2h")
    function    = optional(bool, false)
    events      = optional(bool, false)
    python      = optional(string, "3.12")
    memory_mb   = optional(number, 2048)
    environment = optional(map(string), {})
    subnet_id   = optional(string)
  })
  default = null

  validation {
    condition     = var.rotation == null || anytrue([for secret in values(var.secrets) : secret.rotate])
    error_message = "A rotation needs a secret with rotate = true."
  }

  validation {
    condition     = !try(var.rotation.events, false) || try(var.rotation.function, false)
    error_message = "Event Grid needs the function to tell."
  }

  validation {
    condition     = var.rotation == null || var.coordinator != null
    error_message = "Key Vault compares nothing when it writes: a rotation needs a coordinator."
  }
}

variable "ledger" {
  description = "Where it is recorded how far rotations have come: \"store\" in the store itself, \"elsewhere\" in a [ledger] of your own, such as PostgreSQL."
  type        = string
  default     = "store"
  nullable    = false

  validation {
    condition     = contains(["store", "elsewhere"], var.ledger)
    error_message = "The ledger is in the store, or elsewhere."
  }
}

variable "coordinator" {
  description = "What guards conditional writes, which Key Vault has not: url, and of PostgreSQL user and password, the latter a reference. Null for none."
  type = object({
    url      = string
    user     = optional(string)
    password = optional(string)
  })
  default = null
}

variable "log_analytics_workspace_id" {
  description = "Workspace that gets the vault's audit log and the function's; null for none."
  type        = string
  default     = null
}

variable "alarm_actions" {
  description = "Action groups of Azure Monitor that are told when the function fails, or nobody looks for what is due; they need the workspace."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "auth" {
  description = "What stands under auth in strongroom_toml; empty for the SDK's own chain. Credentials are references, never themselves."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
  nullable    = false
}
